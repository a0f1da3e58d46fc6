"""Cohere's chat API, as vLLM serves it: what is recorded, and how its streams end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi_types import Receive, Send
from tallygate.metering.v1 import decision_pb2, token_usage_pb2
from tests.harness.asgi.asgi_harness import (
    DONE,
    Behaviour,
    Upstream,
    answers,
    caller,
    counts,
    event,
    say,
    start,
    streams,
)
from tests.harness.wire.fake_metering import FakeMetering

PATH = "/cohere/v2/chat"
TALK = {"model": "command", "messages": [{"role": "user", "content": "x" * 40}]}
STREAM = {**TALK, "stream": True}
SAID = {"input_tokens": 16, "output_tokens": 9}
USAGE = {"billed_units": SAID, "tokens": SAID, "cached_tokens": 6}


def said(kind: str, message: object = None, **more: Any) -> bytes:
    delta = {} if message is None else {"delta": {"message": message}}
    return event({"type": kind, **delta, **more})


def content(**piece: str) -> bytes:
    return said("content-delta", {"content": piece}, index=0)


def ended(**delta: Any) -> bytes:
    return event({"type": "message-end", "id": "c", "delta": delta})


BEGIN = said("message-start", {"role": "assistant"}, id="c")
BLOCK = said("content-start", {"content": {"type": "text", "text": ""}}, index=0)
CALLED = {"id": "t", "type": "function", "function": {"name": "look", "arguments": ""}}
CALL = said("tool-call-start", {"tool_calls": CALLED}, index=0)
ARGUMENTS = said("tool-call-delta", {"tool_calls": {"function": {"arguments": "{}"}}}, index=0)
WHOLE = {"id": "c", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": []}}
LONG = [{"type": "text", "text": "x" * 20}, {"type": "thinking", "thinking": "y" * 8}]


@pytest.mark.parametrize(
    ("asked", "behave", "recorded", "estimated"),
    [
        pytest.param(
            STREAM,
            streams(BEGIN, BLOCK, content(text="a"), content(text="b"), ended(usage=USAGE), DONE),
            counts(10, 9, 6),
            False,
            id="a stream",
        ),
        pytest.param(
            {**TALK, "max_tokens": "9"}, answers({**WHOLE, "usage": USAGE}), counts(10, 9, 6), False, id="whole"
        ),
        pytest.param(
            TALK,
            answers({**WHOLE, "usage": {"tokens": {"input_tokens": 16.0, "output_tokens": 9.0}}}),
            counts(16, 9),
            False,
            id="whole, its counts written as fractions",
        ),
        pytest.param(
            STREAM,
            streams(BEGIN, CALL, ARGUMENTS, said("tool-plan-delta", {"tool_plan": "so"}), ended(), DONE),
            counts(14, 3),
            True,
            id="calls and plans without usage",
        ),
        pytest.param(
            STREAM,
            streams(BEGIN, said("content-delta", {"content": {"text": "a b"}}, logprobs={"token_ids": [1, 2]}), DONE),
            counts(14, 2),
            True,
            id="token ids beside the text",
        ),
        pytest.param(
            TALK,
            answers({**WHOLE, "message": {"content": LONG, "tool_plan": "z" * 4}}),
            counts(14, 8),
            True,
            id="whole, without usage",
        ),
        pytest.param(TALK, answers({"message": "no", "id": "c"}), counts(0, 0), False, id="refused with status 200"),
        pytest.param(
            STREAM,
            streams(BEGIN, ended(error="no", finish_reason="ERROR"), DONE),
            counts(0, 0),
            False,
            id="refused in the stream",
        ),
        pytest.param(
            STREAM,
            streams(BEGIN, content(text="a"), ended(error="oops", finish_reason="ERROR"), DONE),
            counts(14, 1),
            True,
            id="failed in the stream",
        ),
    ],
)
async def test_it_is_metered(  # noqa: PLR0917  # fixtures and parameters
    node: FakeMetering,
    client: MeteringClient,
    asked: dict[str, Any],
    behave: Behaviour,
    recorded: token_usage_pb2.TokenUsage,
    estimated: bool,
) -> None:
    """By the usage of its last event; by an estimate of its text where it has none."""
    rig, _ = caller(node, client, behave)
    finish = await rig.post(PATH, asked)
    assert (finish.usage, finish.estimated) == (recorded, estimated)
    assert (rig.status, rig.is_complete) == (200, True)


@pytest.mark.parametrize(
    ("before", "open_block"),
    [
        ([BEGIN, BLOCK], {"type": "content-end", "index": 0}),
        ([BEGIN, BLOCK, said("content-end", index=0), CALL], {"type": "tool-call-end", "index": 0}),
    ],
)
async def test_a_trial_that_runs_out_ends_the_stream_as_its_limit_would(
    node: FakeMetering, client: MeteringClient, before: list[bytes], open_block: dict[str, Any]
) -> None:
    """What is open is closed, then the end says why it is one, and how much it was."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send)
        await say(send, *before, content(thinking="a"), *[content(text="b")] * 3)
        node.streams[0].stop(node.reports[0].request_id, decision_pb2.DECISION_REASON_TRIAL_EXHAUSTED)
        await upstream.wait_gone(receive)

    rig, upstream = caller(node, client, behave)
    finish = await rig.post(PATH, STREAM)
    *events, done, rest = rig.body.split(b"\n\n")
    tokens = 4 + (CALL in before)
    units = {"input_tokens": finish.usage.input_tokens, "output_tokens": tokens}
    usage = {"billed_units": units, "tokens": units, "cached_tokens": 0}
    end = {"type": "message-end", "id": "c", "delta": {"finish_reason": "MAX_TOKENS", "usage": usage}}
    assert [json.loads(each[6:]) for each in events[-2:]] == [open_block, end]
    assert (done, rest, upstream.told_that_nobody_listens) == (b"data: [DONE]", b"", True)
    assert (finish.usage.output_tokens, finish.usage.reasoning_tokens, finish.estimated) == (tokens - 1, 1, True)


async def test_a_small_rest_is_told_where_the_limit_stands(node: FakeMetering, client: MeteringClient) -> None:
    """In the field where this API has it."""
    node.step = node.limit = 20
    rig, upstream = caller(node, client, answers({**WHOLE, "usage": USAGE}))
    for asked, passed in ((TALK, 20), ({**TALK, "max_tokens": 7.0}, 7), ({**TALK, "max_tokens": 70}, 20)):
        await rig.post(PATH, asked)
        assert json.loads(upstream.bodies[-1]) == {**TALK, "max_tokens": passed}
        assert node.reports[0].whole
        rig.is_complete = False


@pytest.mark.parametrize(
    ("asked", "status"), [(STREAM, 402), ({**STREAM, "stream": "maybe"}, 400), ({**TALK, "max_tokens": 1.5}, 400)]
)
async def test_a_refusal_is_in_the_words_of_this_api(
    node: FakeMetering, client: MeteringClient, asked: dict[str, Any], status: int
) -> None:
    """A sentence as `message`."""
    node.limit = 0
    rig, upstream = caller(node, client, answers(WHOLE))
    if status == 402:
        await rig.post(PATH, asked)
    else:
        with pytest.raises(IndexError):
            await rig.post(PATH, asked)
    assert (rig.status, upstream.bodies, list(json.loads(rig.body))) == (status, [], ["message"])
    assert isinstance(json.loads(rig.body)["message"], str)
