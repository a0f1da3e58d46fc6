"""Whole answers that are fetched as streams: little is held at a time, and they can be stopped in the middle."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.asgi_types import Receive, Send
from tallygate.integrations.openai import assembly
from tallygate.metering.v1 import decision_pb2, token_usage_pb2
from tests.harness.asgi.asgi_harness import SERVICE, Behaviour, Caller, Upstream, delta, event, say, start, usage
from tests.harness.wire.fake_metering import FakeMetering

CHAT = "/v1/chat/completions"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 5_000}
DONE = b"data: [DONE]\n\n"


def caller(node: FakeMetering, client: MeteringClient, behave: Behaviour) -> tuple[Caller, Upstream]:
    upstream = Upstream(behave)
    return Caller(MeteringMiddleware(upstream, client=client, services=SERVICE, whole_answers="stream"), node), upstream


def counts(went_in: int, came_out: int) -> token_usage_pb2.TokenUsage:
    return token_usage_pb2.TokenUsage(input_tokens=went_in, output_tokens=came_out)


def running(text: str, went_in: int, came_out: int) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    said = {"prompt_tokens": went_in, "completion_tokens": came_out}
    return event({"id": "c", "object": "chat.completion.chunk", "choices": [choice], "usage": said})


def text_of(rig: Caller) -> tuple[str, str, int]:
    """The answer's text, why it ended, and its output tokens."""
    answer = json.loads(rig.body)
    choice = answer["choices"][0]
    return choice["message"]["content"], choice["finish_reason"], answer["usage"]["completion_tokens"]


async def test_an_answer_is_put_together(node: FakeMetering, client: MeteringClient) -> None:
    """The node hears of no whole answer, and the client of no stream."""

    async def behave(_upstream: Upstream, _receive: Receive, send: Send) -> None:
        await start(send)
        await say(send, delta("Hi"), delta(" there")[:20], delta(" there")[20:], delta("", finish="stop"))
        await say(send, usage(9, 3), DONE, more=False)

    rig, upstream = caller(node, client, behave)
    finish = await rig.post(CHAT, ASKED)
    assert json.loads(rig.body) == {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi there"},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3},
    }
    assert (rig.headers["content-type"], rig.headers["content-length"]) == ("application/json", str(len(rig.body)))
    assert json.loads(upstream.bodies[0])["stream"] is True
    assert (finish.usage, finish.estimated, node.reports[0].whole) == (counts(9, 3), False, False)


async def test_a_stop_gives_what_came(node: FakeMetering, client: MeteringClient) -> None:
    """As if it had reached its limit; the app hears that nobody listens."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send)
        await say(send, running("a", 9, 1), running("b", 9, 2))
        node.streams[0].stop(node.reports[0].request_id, decision_pb2.DECISION_REASON_SUSPENDED)
        await upstream.wait_gone(receive)

    rig, upstream = caller(node, client, behave)
    finish = await rig.post(CHAT, ASKED)
    assert upstream.told_that_nobody_listens
    assert text_of(rig) == ("ab", "length", 2)
    assert (finish.usage, finish.estimated, rig.status) == (counts(9, 2), False, 200)


async def test_a_client_that_leaves_is_charged_for_what_came(node: FakeMetering, client: MeteringClient) -> None:
    """Exactly, by running usage."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send)
        await say(send, running("a", 9, 1), running("b", 9, 2))
        rig.hung_up.set()
        await upstream.wait_gone(receive)

    rig, upstream = caller(node, client, behave)
    rig.spec_version = "2.4"
    finish = await rig.post(CHAT, ASKED)
    # An app that only hears of it when it writes would never hear of it.
    assert upstream.scopes[0]["asgi"]["spec_version"] == "2.3"
    assert (finish.usage, finish.estimated, rig.pieces) == (counts(9, 2), False, [])


async def test_too_long_an_answer_ends(
    node: FakeMetering, client: MeteringClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of it is bounded; the rest is not generated."""
    monkeypatch.setattr(assembly, "KEPT_BYTES_MAX", 2_000)

    async def behave(_upstream: Upstream, _receive: Receive, send: Send) -> None:
        await start(send)
        for at in range(1_000):
            await say(send, running("x" * 100, 9, at + 1))
        await say(send, DONE, more=False)

    rig, _ = caller(node, client, behave)
    await rig.post(CHAT, ASKED)
    text, reason, _ = text_of(rig)
    assert (reason, 1_900 < len(text) < 3_000) == ("length", True)


async def test_a_server_that_knows_no_usage_of_streams_is_asked_for_less(
    node: FakeMetering, client: MeteringClient
) -> None:
    """At last for none, and for all later requests at once."""

    async def behave(upstream: Upstream, _receive: Receive, send: Send) -> None:
        if b"stream_options" in upstream.bodies[-1]:
            await start(send, "application/json", 400)
            await say(send, b'{"error": {}}', more=False)
            return
        await start(send)
        await say(send, delta("a"), delta("b", finish="stop"), DONE, more=False)

    rig, upstream = caller(node, client, behave)
    finish = await rig.post(CHAT, ASKED)
    assert (rig.status, json.loads(rig.body)["choices"][0]["message"]["content"]) == (200, "ab")
    assert (finish.usage.output_tokens, finish.estimated, len(upstream.bodies)) == (2, True, 3)


ERROR: dict[str, Any] = {"error": {"message": "too hot", "code": 503}}


@pytest.mark.parametrize(
    ("kind", "status", "body", "shown"),
    [
        ("application/json", 422, b'{"error": {}}', (422, b'{"error": {}}')),
        ("text/event-stream", 200, event(ERROR) + DONE, (503, json.dumps(ERROR, separators=(",", ":")).encode())),
        ("application/json", 200, b'{"choices": [], "a": 1}', (200, b'{"choices": [], "a": 1}')),
        ("application/json", 200, b"", (200, b"")),
    ],
)
async def test_what_is_no_stream(  # noqa: PLR0917  # fixtures and parameters
    node: FakeMetering, client: MeteringClient, kind: str, status: int, body: bytes, shown: tuple[int, bytes]
) -> None:
    """Errors keep their status, and whole answers are what they are."""

    async def behave(_upstream: Upstream, _receive: Receive, send: Send) -> None:
        await start(send, kind, status)
        await say(send, *[body[at : at + 7] for at in range(0, len(body), 7)], b"", more=False)

    rig, _ = caller(node, client, behave)
    await rig.post(CHAT, ASKED)
    assert (rig.status, rig.body) == shown
    assert rig.is_complete
