"""The middleware before servers that misbehave, clients that leave, and nodes that say stop."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging

import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi_types import Receive, Send
from tallygate.metering.v1 import decision_pb2, token_usage_pb2
from tests.harness.asgi.asgi_harness import SERVICE, Caller, Upstream, caller, delta, event, say, start, usage
from tests.harness.wire.fake_metering import FakeMetering

CHAT = "/v1/chat/completions"
ASKED = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x" * 40}]}
ESTIMATED_INPUT = 14
HELD_INPUT = 37
DONE = b"data: [DONE]\n\n"


def counts(went_in: int, came_out: int) -> token_usage_pb2.TokenUsage:
    return token_usage_pb2.TokenUsage(input_tokens=went_in, output_tokens=came_out)


async def test_a_stream_passes_byte_for_byte_but_for_usage(node: FakeMetering, client: MeteringClient) -> None:
    """The client sees what the server said; the record has the server's own counts."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send)
        await say(send, delta("Hi") + delta(" there")[:20], delta(" there")[20:], usage(9, 3), DONE, more=False)

    rig, upstream = caller(node, client, behave)
    finish = await rig.post(CHAT, ASKED, headers=[(b"accept-encoding", b"gzip"), (b"authorization", b"Bearer sk-1")])
    assert rig.body == delta("Hi") + delta(" there") + DONE
    assert rig.is_complete
    assert (finish.usage, finish.estimated) == (counts(9, 3), False)
    first = node.reports[0]
    assert first.usage == counts(HELD_INPUT, 0)
    assert (first.source_address, first.credential_sha256) == ("192.0.2.7", hashlib.sha256(b"sk-1").digest())
    assert (first.service, first.credential, first.model) == (SERVICE, "", "")
    headers = dict(upstream.scopes[0]["headers"])
    assert int(headers[b"content-length"]) == len(upstream.bodies[0])
    assert b"accept-encoding" not in headers
    assert json.loads(upstream.bodies[0])["stream_options"] == {
        "include_usage": True,
        "continuous_usage_stats": True,
    }


async def _refuses(upstream: Upstream, receive: Receive, send: Send) -> None:
    await start(send, "application/json", 400)
    await say(send, b'{"error": {}}', more=False)


async def _is_down(upstream: Upstream, receive: Receive, send: Send) -> None:
    await start(send, "application/json", 503)
    await say(send, b'{"error": {}}', more=False)


async def _raises(upstream: Upstream, receive: Receive, send: Send) -> None:
    raise RuntimeError("the engine is dead")


async def _says_nothing(upstream: Upstream, receive: Receive, send: Send) -> None:
    pass


async def _dies_midway(upstream: Upstream, receive: Receive, send: Send) -> None:
    await start(send)
    await say(send, delta("a"), delta("b"))
    raise RuntimeError("the engine is dead")


async def _has_no_usage(upstream: Upstream, receive: Receive, send: Send) -> None:
    await start(send)
    await say(send, delta("a"), delta("b"), DONE, more=False)


async def _has_no_usage_as_a_whole(upstream: Upstream, receive: Receive, send: Send) -> None:
    await start(send, "application/json")
    await say(send, json.dumps({"choices": [{"message": {"content": "12345678"}}]}).encode(), more=False)


async def _is_no_json(upstream: Upstream, receive: Receive, send: Send) -> None:
    await start(send)
    await say(send, delta("a"), b"data: {oops\n\n", usage(9, 4), DONE, more=False)


async def _shrinks(upstream: Upstream, receive: Receive, send: Send) -> None:
    await start(send)
    await say(send, delta("a"), usage(9, 4), usage(9, 2), DONE, more=False)


async def _says_it_twice(upstream: Upstream, receive: Receive, send: Send) -> None:
    await start(send)
    await say(send, delta("a"), usage(9, 4), usage(9, 4), DONE, more=False)


async def _fails_in_its_stream(upstream: Upstream, receive: Receive, send: Send) -> None:
    await start(send)
    await say(send, delta("a"), event({"error": {"message": "out of memory"}}), DONE, more=False)


async def _is_cut_off(upstream: Upstream, receive: Receive, send: Send) -> None:
    await start(send)
    await say(send, delta("a"), delta("b"), more=True)


async def _compresses(upstream: Upstream, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await say(send, b"\x1f\x8b...", more=False)


@pytest.mark.parametrize(
    ("behave", "recorded", "estimated", "remark"),
    [
        (_refuses, counts(0, 0), False, ""),
        (_is_down, counts(0, 0), True, "answered with 503"),
        (_raises, counts(0, 0), True, "failed before it answered"),
        (_says_nothing, counts(0, 0), True, "failed before it answered"),
        (_dies_midway, counts(ESTIMATED_INPUT, 2), True, "in the middle of its answer"),
        (_has_no_usage, counts(ESTIMATED_INPUT, 2), True, "said no usage"),
        (_has_no_usage_as_a_whole, counts(ESTIMATED_INPUT, 2), True, "said no usage"),
        (_is_no_json, counts(9, 4), False, "not JSON"),
        (_shrinks, counts(9, 2), False, ""),
        (_says_it_twice, counts(9, 4), False, ""),
        (_fails_in_its_stream, counts(ESTIMATED_INPUT, 1), True, "an error that the server sent"),
        (_is_cut_off, counts(ESTIMATED_INPUT, 2), True, "hung up"),
        (_compresses, counts(ESTIMATED_INPUT, 2), True, "compressed"),
    ],
)
async def test_whatever_a_server_does_is_recorded_once_and_said_once(  # noqa: PLR0917  # fixtures and parameters
    node: FakeMetering,
    client: MeteringClient,
    caplog: pytest.LogCaptureFixture,
    behave: object,
    recorded: token_usage_pb2.TokenUsage,
    estimated: bool,
    remark: str,
) -> None:
    """The record says whether it is an estimate, one line in the log says why, and the client gets all of it."""
    said: list[bytes] = []

    async def overheard(upstream: Upstream, receive: Receive, send: Send) -> None:
        async def keep(message: dict[str, object]) -> None:
            body = message.get("body", b"")
            assert isinstance(body, bytes)
            said.append(body)
            await send(message)

        await behave(upstream, receive, keep)  # type: ignore[operator]

    caplog.set_level(logging.INFO, "tallygate.integrations.asgi")
    rig, _ = caller(node, client, overheard)
    finish = await rig.post(CHAT, ASKED)
    assert (finish.usage, finish.estimated) == (recorded, estimated)
    lines = [line.getMessage() for line in caplog.records if line.msg.startswith("Request ")]
    assert len(lines) == bool(remark)
    assert all(remark in line for line in lines)
    # A refusal may be of what was added to the request: it is tried with less, and with nothing.
    shown = [piece for piece in said if b'"usage"' not in piece]
    assert rig.body == (b'{"error": {}}' if behave is _refuses else b"".join(shown))


async def test_a_client_that_leaves_is_charged_for_what_came(node: FakeMetering, client: MeteringClient) -> None:
    """The app hears that it left, and what had come until then is recorded as an estimate."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send)
        await say(send, delta("a"), delta("b"), delta("c"))
        rig.hung_up.set()
        await upstream.wait_gone(receive)

    rig, upstream = caller(node, client, behave)
    finish = await rig.post(CHAT, ASKED)
    assert upstream.told_that_nobody_listens
    assert (finish.usage, finish.estimated) == (counts(ESTIMATED_INPUT, 3), True)


async def test_a_client_that_leaves_before_the_first_token(node: FakeMetering, client: MeteringClient) -> None:
    """The prompt was on its way through the model: its estimate is recorded."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        rig.hung_up.set()
        await upstream.wait_gone(receive)

    rig, _ = caller(node, client, behave)
    finish = await rig.post(CHAT, ASKED)
    assert (finish.usage, finish.estimated, rig.status) == (counts(ESTIMATED_INPUT, 0), True, 0)


async def test_a_stop_ends_a_stream_whose_server_says_nothing(node: FakeMetering, client: MeteringClient) -> None:
    """Its client gets a proper end, its app hears that nobody listens, and what is said after that goes nowhere."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send)
        await say(send, delta("a"), delta("b"))
        node.streams[0].stop(node.reports[0].request_id, decision_pb2.DECISION_REASON_SUSPENDED)
        await upstream.wait_gone(receive)
        await say(send, delta("late"), usage(9, 3), DONE, more=False)

    rig, _ = caller(node, client, behave)
    finish = await rig.post(CHAT, {**ASKED, "stream_options": {"include_usage": True}})
    end, said_usage, done = rig.body.removeprefix(delta("a") + delta("b")).split(b"\n\n")[:3]
    assert json.loads(end[6:])["choices"][0]["finish_reason"] == "length"
    assert json.loads(said_usage[6:])["usage"]["completion_tokens"] == 2
    assert done == b"data: [DONE]"
    assert rig.is_complete
    assert (finish.usage, finish.estimated) == (counts(9, 3), False)


async def test_a_stop_before_the_answer_is_a_refusal(node: FakeMetering, client: MeteringClient) -> None:
    """Streamed or not: as long as no status was said, the right one is."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        node.streams[0].stop(node.reports[0].request_id, decision_pb2.DECISION_REASON_ACCOUNT_OVERDUE)
        await upstream.wait_gone(receive)
        raise RuntimeError("as some servers do then")

    rig, _ = caller(node, client, behave)
    finish = await rig.post(CHAT, {**ASKED, "stream": False})
    assert (rig.status, json.loads(rig.body)["error"]["code"]) == (402, "account_overdue")
    assert rig.headers["x-tallygate-request-id"] == node.reports[0].request_id
    assert (finish.usage, finish.estimated) == (counts(ESTIMATED_INPUT, 1), True), "a guess, and not nothing"
    assert rig.error is None


async def test_a_last_grant_is_told_to_the_server(node: FakeMetering, client: MeteringClient) -> None:
    """So that it ends by itself, and says how much it was, and nothing is generated for nobody."""
    node.limit = 30

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send)
        await say(send, *[delta("a")] * 30, delta("", finish="length"), usage(9, 30), DONE, more=False)

    rig, upstream = caller(node, client, behave)
    finish = await rig.post(CHAT, ASKED)
    assert json.loads(upstream.bodies[0])["max_tokens"] == 30
    assert rig.body.endswith(delta("", finish="length") + DONE)
    assert (finish.usage, finish.estimated) == (counts(9, 30), False)


async def _generate_until_gone(rig: Caller, upstream: Upstream, receive: Receive, send: Send) -> int:
    """A server that does not do as it is told: how many tokens it made."""
    await start(send)
    made = 0
    gone = asyncio.create_task(upstream.wait_gone(receive))
    while not rig.is_complete and made < 1_000:
        made += 1
        await say(send, delta("a"))
        await asyncio.sleep(0)
    await gone
    return made


async def test_a_stream_is_ended_at_the_last_ceiling(node: FakeMetering, client: MeteringClient) -> None:
    """A grant that became the last one on the way: the stream ends at its last token, and none is made beyond it."""
    node.limit = 250
    made = 0

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        nonlocal made
        made = await _generate_until_gone(rig, upstream, receive, send)

    rig, _ = caller(node, client, behave)
    finish = await rig.post(CHAT, ASKED)
    assert made == 250
    assert rig.body.count(b'"content": "a"') == 250
    assert b'"finish_reason":"length"' in rig.body
    assert rig.body.endswith(DONE)
    assert (finish.usage, finish.estimated) == (counts(ESTIMATED_INPUT, 250), True)


async def test_at_a_ceiling_without_an_answer_a_stream_waits_and_ends(
    node: FakeMetering, client: MeteringClient
) -> None:
    """A node that falls silent holds a stream up for the client's answer time, and no longer."""
    made = 0

    def fall_silent(_rig: Caller) -> None:
        node.muted = True
        client._session.allowance._answer_ns = 200_000_000

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        nonlocal made
        made = await _generate_until_gone(rig, upstream, receive, send)
        node.muted = False

    rig, _ = caller(node, client, behave)
    rig.on_piece = fall_silent
    finish = await rig.post(CHAT, ASKED)
    assert made == 100
    assert rig.body.endswith(DONE)
    assert finish.usage.output_tokens == 100


async def test_what_is_not_metered_passes_untouched(node: FakeMetering, client: MeteringClient) -> None:
    """Other paths, other methods: not even looked at."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send, "text/plain")
        await say(send, b"fine", more=False)

    rig, upstream = caller(node, client, behave)
    for method, path in (("GET", CHAT), ("POST", "/tokenize"), ("GET", "/health")):
        scope = {"type": "http", "method": method, "path": path, "headers": []}

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"x", "more_body": False}

        rig.is_complete = False
        await rig.middleware(scope, receive, rig._send)
        assert upstream.scopes[-1] is scope
    assert node.reports == []
