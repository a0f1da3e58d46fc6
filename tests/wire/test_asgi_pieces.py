"""How the middleware passes an answer's pieces on: in parts that others can wait for, and none past the counting."""

from __future__ import annotations

import asyncio
import json

import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.asgi_messages import PIECE_BYTES_MAX
from tallygate.integrations.asgi_types import Message, Receive, Scope, Send
from tallygate.metering.v1 import decision_pb2, token_usage_pb2
from tests.harness.asgi.asgi_harness import SERVICE, Upstream, caller, delta, say, start, usage
from tests.harness.wire.fake_metering import FakeMetering

CHAT = "/v1/chat/completions"
ASKED = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x" * 40}]}


@pytest.mark.parametrize("stream", [False, True])
async def test_others_have_their_turn_within_a_large_piece(
    node: FakeMetering, client: MeteringClient, *, stream: bool
) -> None:
    """An app may give an answer of many megabytes at once: reading it may hold up nobody else for long."""
    entries = [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}] * 80_000
    choice = {"index": 0, "message": {"content": "x"}, "logprobs": {"content": entries}}
    said = {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}
    body = json.dumps(said).encode() if not stream else delta("x") * 40_000 + usage(9, 3)
    node.step = 100_000
    turns = 0

    async def behave(_upstream: Upstream, _receive: Receive, send: Send) -> None:
        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        await start(send, "application/json" if not stream else "text/event-stream")
        task = asyncio.create_task(others())
        await say(send, body, more=False)
        task.cancel()

    rig, _ = caller(node, client, behave)
    finish = await rig.post(CHAT, {**ASKED, "stream": stream})
    assert turns >= len(body) // PIECE_BYTES_MAX
    assert (rig.body, rig.is_complete) == (body.removesuffix(usage(9, 3)), True)
    assert (finish.usage, finish.estimated) == (token_usage_pb2.TokenUsage(input_tokens=9, output_tokens=3), False)


async def test_an_app_cannot_answer_past_the_counting(node: FakeMetering, client: MeteringClient) -> None:
    """What lets the server answer with a file is not offered to the app; everything else is."""
    offered: list[dict[str, object]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        offered.append(scope["extensions"])
        await receive()
        await start(send, "application/json")
        await say(send, b'{"usage": {"prompt_tokens": 1, "completion_tokens": 2}}', more=False)

    extensions: dict[str, object] = {
        f"http.response.{name}": {} for name in ("pathsend", "zerocopysend", "early_hint")
    } | {"tls": {"a": 1}}
    raw = json.dumps({**ASKED, "stream": False}).encode()
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [], "extensions": extensions}
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: Message) -> None:
        said.append(message)

    await MeteringMiddleware(app, client=client, services=SERVICE)(scope, receive, send)
    assert offered == [{"http.response.early_hint": {}, "tls": {"a": 1}}]
    assert [message["type"] for message in said] == ["http.response.start", "http.response.body"]


async def test_an_app_cannot_begin_its_answer_twice(node: FakeMetering, client: MeteringClient) -> None:
    """What was counted of it before stays so."""

    async def behave(_upstream: Upstream, _receive: Receive, send: Send) -> None:
        await start(send, "application/json")
        await say(send, b'{"usage": {"prompt_tokens": 9, "completion_tokens": 3}}')
        await start(send, "application/json", 500)

    rig, _ = caller(node, client, behave)
    finish = await rig.post(CHAT, {**ASKED, "stream": False})
    assert isinstance(rig.error, RuntimeError)
    assert rig.status == 200
    assert finish.usage == token_usage_pb2.TokenUsage(input_tokens=9, output_tokens=3)


async def test_an_answer_past_the_counting_is_refused(node: FakeMetering, client: MeteringClient) -> None:
    """Also where an app does not ask what it may."""

    async def behave(_upstream: Upstream, _receive: Receive, send: Send) -> None:
        await start(send)
        await send({"type": "http.response.pathsend", "path": "/etc/hostname"})

    rig, _ = caller(node, client, behave)
    await rig.post(CHAT, ASKED)
    assert isinstance(rig.error, RuntimeError)
    assert rig.pieces == []


async def _refuse(send: Send) -> None:
    await start(send, "application/json", 400)
    await say(send, b'{"error": {"message": "bad"}}', more=False)


async def test_a_client_that_leaves_before_a_refusal_ends_it(node: FakeMetering, client: MeteringClient) -> None:
    """Nothing is tried again for a client that is gone."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        assert len(upstream.bodies) == 1
        rig.hung_up.set()
        await upstream.wait_gone(receive)
        await _refuse(send)

    rig, upstream = caller(node, client, behave)
    finish = await rig.post(CHAT, ASKED)
    assert (len(upstream.bodies), rig.status, rig.error) == (1, 400, None)
    assert finish.usage == token_usage_pb2.TokenUsage()


async def test_a_stop_before_a_refusal_is_the_only_answer(node: FakeMetering, client: MeteringClient) -> None:
    """What the server says after it is neither passed on nor tried again."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        assert len(upstream.bodies) == 1
        await start(send, "application/json", 422)
        node.streams[0].stop(node.reports[0].request_id, decision_pb2.DECISION_REASON_SUSPENDED)
        await upstream.wait_gone(receive)
        await say(send, b"{}", more=False)

    rig, _ = caller(node, client, behave)
    await rig.post(CHAT, ASKED)
    assert (rig.status, rig.is_complete, rig.error) == (403, True, None)
    assert json.loads(rig.body)["error"]["code"] == "suspended"
