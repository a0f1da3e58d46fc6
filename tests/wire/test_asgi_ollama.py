"""Ollama's own API, as Ollama and SGLang serve it: what is recorded, and how its streams end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi_types import Receive, Send
from tallygate.metering.v1 import decision_pb2, report_pb2
from tests.harness.asgi.asgi_harness import Behaviour, Upstream, answers, caller, counts, say, start, streams
from tests.harness.wire.fake_metering import FakeMetering

CHAT, GENERATE = "/api/chat", "/api/generate"
TALK = {"model": "llama3.2", "messages": [{"role": "user", "content": "x" * 40}]}
PROMPT = {"model": "llama3.2", "prompt": "x" * 40}
NDJSON = "application/x-ndjson"
EVALUATED = {"total_duration": 9, "prompt_eval_count": 26, "prompt_eval_duration": 1, "eval_count": 5}
UNSAID = dict.fromkeys(("context", "total_duration", "prompt_eval_count", "eval_count"))


def line(piece: Any, **more: Any) -> dict[str, Any]:
    """One line: of a chat where the piece is a message, else of a completion."""
    said = {"message": {"role": "assistant", **piece}} if isinstance(piece, dict) else {"response": piece}
    return {"model": "llama3.2", "created_at": "2026-11-29T01:00:00.5Z", **said, "done": False, **more}


def lines(*said: dict[str, Any]) -> Behaviour:
    return streams(*(json.dumps(each).encode() + b"\n" for each in said), kind=NDJSON)


def texts(*pieces: str) -> list[dict[str, Any]]:
    return [line({"content": piece}) for piece in pieces]


END = line({"content": ""}, done=True, done_reason="stop")
COUNTED = {**END, **EVALUATED}


@pytest.mark.parametrize(
    ("path", "asked", "behave", "recorded", "estimated"),
    [
        pytest.param(CHAT, TALK, lines(*texts("a", "b"), COUNTED), counts(26, 5), False, id="chat"),
        pytest.param(
            GENERATE, PROMPT, lines(line("a"), line("", done=True, **EVALUATED)), counts(26, 5), False, id="generate"
        ),
        pytest.param(
            CHAT,
            {**TALK, "think": True},
            lines(line({"content": "", "thinking": "hm"}), line({"tool_calls": [{"function": {}}]}), COUNTED),
            counts(26, 5),
            False,
            id="thoughts and calls",
        ),
        pytest.param(
            CHAT, {**TALK, "stream": False}, answers({**END, **EVALUATED}), counts(26, 5), False, id="chat, whole"
        ),
        pytest.param(
            GENERATE,
            {**PROMPT, "stream": False, "options": {"num_predict": -1}},
            answers(line("a", done=True, **EVALUATED)),
            counts(26, 5),
            False,
            id="generate, whole",
        ),
        pytest.param(
            CHAT, TALK, lines(*texts("a", "b"), END), counts(14, 3), True, id="SGLang says no counts in a stream"
        ),
        pytest.param(
            GENERATE,
            PROMPT,
            lines(line("x" * 40), line("b"), line("", done=True, done_reason="stop")),
            counts(10, 12),
            True,
            id="several tokens in a line",
        ),
        pytest.param(
            GENERATE,
            {**PROMPT, "stream": False},
            answers(line("x" * 20, thinking="y" * 8, done=True)),
            counts(10, 7),
            True,
            id="a whole answer without counts",
        ),
        pytest.param(
            CHAT,
            {**TALK, "stream": False},
            answers(line({"content": "x" * 20, "thinking": "y" * 8}, done=True)),
            counts(14, 7),
            True,
            id="a whole chat without counts",
        ),
        pytest.param(CHAT, TALK, lines({"error": "no such model"}), counts(0, 0), False, id="refused in the stream"),
        pytest.param(CHAT, TALK, lines(*texts("a"), {"error": "oops"}), counts(14, 1), True, id="failed in the stream"),
        pytest.param(
            GENERATE,
            {"model": "llama3.2"},
            answers(line("", done=True, done_reason="load")),
            counts(0, 0),
            False,
            id="a model is loaded",
        ),
        pytest.param(
            CHAT,
            {**TALK, "messages": [], "keep_alive": 0, "stream": False},
            answers(line({"content": ""}, done=True, done_reason="unload")),
            counts(0, 0),
            False,
            id="a model is let go",
        ),
        pytest.param(
            GENERATE,
            {"model": "llama3.2", "system": "Be kind.", "keep_alive": "1h"},
            answers(line("", done=True, done_reason="load")),
            counts(0, 0),
            False,
            id="a model is loaded, though something was said",
        ),
        pytest.param(
            GENERATE,
            {"model": "llama3.2", "prompt": ""},
            lines(line("", done=True, done_reason="stop", **UNSAID)),
            counts(0, 0),
            False,
            id="SGLang runs nothing for an empty prompt",
        ),
    ],
)
async def test_it_is_metered(  # noqa: PLR0917  # fixtures and parameters
    node: FakeMetering,
    client: MeteringClient,
    path: str,
    asked: dict[str, Any],
    behave: Behaviour,
    recorded: Any,
    estimated: bool,
) -> None:
    """By the counts of its last line; by an estimate of its text where it has none."""
    rig, upstream = caller(node, client, behave)
    finish = await rig.post(path, asked)
    assert (finish.usage.input_tokens, finish.estimated) == (recorded.input_tokens, estimated)
    assert finish.usage.output_tokens + finish.usage.reasoning_tokens == recorded.output_tokens
    assert (rig.status, rig.is_complete, len(upstream.bodies)) == (200, True, 1)


async def test_thoughts_that_are_left_are_recorded_as_reasoning(node: FakeMetering, client: MeteringClient) -> None:
    """The client hangs up before the counts."""
    rig, _ = caller(node, client, lines(line({"content": "", "thinking": "hm"}), *texts("a"), {"error": "gone"}))
    finish = await rig.post(CHAT, TALK)
    assert (finish.usage.output_tokens, finish.usage.reasoning_tokens) == (1, 1)


@pytest.mark.parametrize("path", [CHAT, GENERATE])
async def test_a_trial_that_runs_out_ends_the_stream_as_its_limit_would(
    node: FakeMetering, client: MeteringClient, path: str
) -> None:
    """Its last line says "length" and how much it was."""
    piece: Any = {"content": "a"} if path == CHAT else "a"

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send, NDJSON)
        await say(send, *(json.dumps(line(piece)).encode() + b"\n" for _ in range(4)))
        reason = decision_pb2.DECISION_REASON_TRIAL_EXHAUSTED
        node.streams[0].stop(node.reports[0].request_id, reason)
        await upstream.wait_gone(receive)

    rig, upstream = caller(node, client, behave)
    finish = await rig.post(path, TALK if path == CHAT else PROMPT)
    *pieces, last = [json.loads(each) for each in rig.body.splitlines()]
    assert pieces == [line(piece)] * 4
    empty: Any = {"content": ""} if path == CHAT else ""
    went_in = finish.usage.input_tokens
    said = {"done": True, "done_reason": "length", "prompt_eval_count": went_in, "eval_count": 4}
    assert last == line(empty, **said)
    assert (finish.usage.output_tokens, finish.estimated, upstream.told_that_nobody_listens) == (4, True, True)


@pytest.mark.parametrize(
    ("asked", "passed"),
    [
        ({}, {"num_predict": 20}),
        ({"options": None}, {"num_predict": 20}),
        ({"options": {"seed": 1, "num_predict": -2}}, {"seed": 1, "num_predict": 20}),
        ({"options": {"num_predict": "200"}}, {"num_predict": 20}),
        ({"options": {"num_predict": 7}}, {"num_predict": 7}),
    ],
)
@pytest.mark.parametrize("stream", [None, False])
async def test_a_small_rest_is_told_where_the_limit_stands(
    node: FakeMetering, client: MeteringClient, asked: dict[str, Any], passed: dict[str, Any], stream: object
) -> None:
    """In the options; and a limit below zero is none."""
    node.step = node.limit = 20
    rig, upstream = caller(node, client, answers(COUNTED))
    await rig.post(CHAT, {**TALK, **asked, "stream": stream})
    assert json.loads(upstream.bodies[0])["options"] == passed
    assert node.reports[0].whole is (stream is False)


async def test_nothing_is_held_to_load_a_model(node: FakeMetering, client: MeteringClient) -> None:
    """But one token, and the server is told so, should it generate all the same."""
    rig, upstream = caller(node, client, answers(line({"content": ""}, done=True, done_reason="load")))
    await rig.post(CHAT, {"model": "llama3.2", "stream": False, "options": {"num_predict": 900, "num_ctx": 64}})
    authorized = next(report for report in node.reports if report.phase == report_pb2.REPORT_PHASE_AUTHORIZE)
    assert authorized.max_output_tokens == 1
    assert json.loads(upstream.bodies[0])["options"] == {"num_predict": 1, "num_ctx": 64}


async def test_a_refusal_is_in_the_words_of_this_api(node: FakeMetering, client: MeteringClient) -> None:
    """A sentence as `error`, which is all that its clients read."""
    node.limit = 0
    rig, upstream = caller(node, client, answers(COUNTED))
    await rig.post(GENERATE, PROMPT)
    assert (rig.status, upstream.bodies, list(json.loads(rig.body))) == (402, [], ["error"])
    assert isinstance(json.loads(rig.body)["error"], str)
    assert int(rig.headers["content-length"]) == len(rig.body)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"m","prompt":"x","options":{"num_predict":1},"Options":{"num_predict":900}}',
        b'{"model":"m","prompt":"x","options":{"num_predict":1,"num_predict":900}}',
        b'{"model":"m","prompt":"x","options":{"num_predict":1.5}}',
        b'{"model":"m","prompt":"x","options":[]}',
        b'{"model":"m","prompt":"","Prompt":"x"}',
        b'{"model":"m","prompt":"x","stream":"maybe"}',
    ],
)
async def test_what_readers_could_differ_about_is_refused(
    node: FakeMetering, client: MeteringClient, raw: bytes
) -> None:
    """Ollama is written in Go, which takes keys in any case."""
    rig, upstream = caller(node, client, answers(COUNTED))
    with pytest.raises(IndexError):
        await rig.post(GENERATE, raw)
    assert (rig.status, upstream.bodies) == (400, [])
    assert isinstance(json.loads(rig.body)["error"], str)
