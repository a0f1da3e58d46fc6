"""Kinds of requests beside chats: what is recorded of them, and how their streams are ended."""

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
    generated,
    say,
    start,
    streams,
)
from tests.harness.wire.fake_metering import FakeMetering


def named(kind: str, **content: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **content})}\n\n".encode()


def message(*texts: str, stop: bool = True) -> list[bytes]:
    """A stream of the messages API, as vLLM 0.32 writes it."""
    begin: dict[str, Any] = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "m",
        "stop_reason": None,
    }
    events = [
        named("message_start", message={**begin, "usage": {"input_tokens": 16, "output_tokens": 0}}),
        named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(named("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for text in texts),
    ]
    usage = {"input_tokens": 6, "output_tokens": 9, "cache_read_input_tokens": 8, "cache_creation_input_tokens": 2}
    end = [
        named("content_block_stop", index=0),
        named("message_delta", delta={"stop_reason": "end_turn"}, usage=usage),
        named("message_stop"),
    ]
    return events + (end if stop else [])


def ids(*token_ids: int) -> bytes:
    choice = {"index": 0, "finish_reason": None, "token_ids": list(token_ids), "logprobs": None}
    return event({"request_id": "t", "usage": None, "output_mode": "tokens", "choices": [choice]})


IDS_USAGE = event(
    {"request_id": "t", "usage": {"prompt_tokens": 5, "completion_tokens": 3}, "output_mode": "tokens", "choices": []}
)
MESSAGES = {"model": "m", "messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 50}
STREAM = {"stream": True}
PROMPTS = {"model": "m", "text": ["x", "y"], "sampling_params": {"n": 2, "max_new_tokens": 5}}
PLAIN_USAGE = {"usage": {"prompt_tokens": 12, "total_tokens": 12}}


@pytest.mark.parametrize(
    ("path", "asked", "behave", "recorded"),
    [
        pytest.param(
            "/v1/messages", {**MESSAGES, **STREAM}, streams(*message("a", "b")), counts(6, 9, 8, 2), id="messages"
        ),
        pytest.param(
            "/v1/messages",
            MESSAGES,
            answers({"type": "message", "content": [], "usage": {"input_tokens": 16, "output_tokens": 4}}),
            counts(16, 4),
            id="messages, whole",
        ),
        pytest.param(
            "/v1/messages",
            {**MESSAGES, **STREAM},
            streams(named("error", error={"type": "invalid_request_error", "message": "no"})),
            counts(0, 0),
            id="messages, refused",
        ),
        pytest.param(
            "/generate",
            {"text": "x", "model": "m", **STREAM},
            streams(event(generated(1)), event(generated(3)), event(generated(5, reason={"type": "stop"})), DONE),
            counts(6, 5, 4),
            id="generate",
        ),
        pytest.param(
            "/generate",
            {**PROMPTS, **STREAM},
            streams(*(event(generated(at + 1, index=at)) for at in range(4)), DONE),
            counts(12, 10, 8),
            id="generate, two prompts with two choices each",
        ),
        pytest.param(
            "/generate",
            PROMPTS,
            answers([generated(at + 1, index=at) for at in range(4)]),
            counts(12, 10, 8),
            id="generate, the same as a whole",
        ),
        pytest.param(
            "/inference/v1/generate",
            {"model": "m", "token_ids": [1, 2, 3, 4, 5], **STREAM},
            streams(ids(7), ids(8, 9), IDS_USAGE, DONE),
            counts(5, 3),
            id="ids in, ids out",
        ),
        pytest.param(
            "/invocations",
            {"model": "m", "prompt": "x"},
            answers({"choices": [{"text": "a"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}),
            counts(3, 2),
            id="an invocation",
        ),
        *(
            pytest.param(path, {"model": "m", **asked}, answers({"data": [], **PLAIN_USAGE}), counts(12, 0), id=path)
            for path, asked in (
                ("/v1/rerank", {"query": "x", "documents": ["y"]}),
                ("/v1/score", {"text_1": "x", "text_2": "y"}),
                ("/classify", {"input": "x"}),
                ("/pooling", {"input": "x"}),
            )
        ),
        pytest.param(
            "/encode",
            {"model": "m", "text": ["x", "y"]},
            answers([{"embedding": [0.5], "meta_info": {"prompt_tokens": 7}}] * 2),
            counts(14, 0),
            id="/encode",
        ),
    ],
)
async def test_it_is_metered_by_what_the_server_counted(  # noqa: PLR0917  # fixtures and parameters
    node: FakeMetering,
    client: MeteringClient,
    path: str,
    asked: dict[str, Any],
    behave: Behaviour,
    recorded: token_usage_pb2.TokenUsage,
) -> None:
    """Exactly, and it is no estimate."""
    rig, _ = caller(node, client, behave)
    finish = await rig.post(path, asked)
    assert (finish.usage, finish.estimated) == (recorded, False)
    assert rig.is_complete


async def test_a_message_that_must_stop_ends_as_one_that_reached_its_limit(
    node: FakeMetering, client: MeteringClient
) -> None:
    """Its open block is closed, and it says why it ended and how much it was."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send)
        await say(send, *message(*"abcd", stop=False))
        node.streams[0].stop(node.reports[0].request_id, decision_pb2.DECISION_REASON_SUSPENDED)
        await upstream.wait_gone(receive)

    rig, _ = caller(node, client, behave)
    await rig.post("/v1/messages", {**MESSAGES, **STREAM})
    events = [json.loads(part.split(b"data: ")[1]) for part in rig.body.split(b"\n\n") if part]
    assert [said["type"] for said in events[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    assert events[-2]["delta"]["stop_reason"] == "max_tokens"
    assert events[-2]["usage"]["output_tokens"] == 4


async def test_an_invocation_of_no_known_kind_is_refused(node: FakeMetering, client: MeteringClient) -> None:
    """Nobody can tell what it would cost."""
    rig, upstream = caller(node, client, answers({}))
    with pytest.raises(IndexError):
        await rig.post("/invocations", {"model": "m", "frobnicate": 1})
    assert (rig.status, upstream.bodies) == (400, [])


async def test_a_small_rest_is_told_where_the_limit_stands(node: FakeMetering, client: MeteringClient) -> None:
    """In the field where this API has it."""
    node.step = node.limit = 8
    rig, upstream = caller(node, client, answers([generated(2, index=at) for at in range(4)]))
    await rig.post("/generate", PROMPTS)
    assert json.loads(upstream.bodies[0])["sampling_params"] == {"n": 2, "max_new_tokens": 2}
