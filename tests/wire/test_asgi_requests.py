"""What the middleware makes of requests before an app and a node hear of them: bodies, limits, what is set aside."""

from __future__ import annotations

import json

import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi_types import Receive, Send
from tallygate.integrations.refusals import DRAIN_BYTES_MAX
from tallygate.metering.v1 import report_pb2, token_usage_pb2
from tests.harness.asgi.asgi_harness import Upstream, caller, say, start
from tests.harness.wire.fake_metering import FakeMetering

CHAT = "/v1/chat/completions"
ASKED = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x" * 40}]}


def counts(went_in: int, came_out: int) -> token_usage_pb2.TokenUsage:
    return token_usage_pb2.TokenUsage(input_tokens=went_in, output_tokens=came_out)


async def _refuses(upstream: Upstream, receive: Receive, send: Send) -> None:
    await start(send, "application/json", 400)
    await say(send, b'{"error": {}}', more=False)


async def test_a_body_that_is_too_long_is_thrown_away(node: FakeMetering, client: MeteringClient) -> None:
    """It is read to its end, so that the client hears of it, and nothing is asked of a node."""
    rig, upstream = caller(node, client, _refuses)
    rig.middleware._body_bytes_max = 10
    pieces = [b"the end", b"789012", b"123456"]

    async def receive() -> dict[str, object]:
        assert not rig.status, "clients listen only when they have sent all"
        return {"type": "http.request", "body": pieces.pop(), "more_body": bool(pieces)}

    await rig.middleware({"type": "http", "method": "POST", "path": CHAT, "headers": []}, receive, rig._send)
    assert (rig.status, rig.headers["connection"], pieces) == (413, "close", [])
    assert (upstream.scopes, node.reports) == ([], [])


async def test_a_body_without_an_end_is_not_read_for_ever(node: FakeMetering, client: MeteringClient) -> None:
    """Beyond a bound the answer is said, and the server closes the connection."""
    rig, _ = caller(node, client, _refuses)
    rig.middleware._body_bytes_max = 10
    read = 0

    async def receive() -> dict[str, object]:
        nonlocal read
        read += 1 << 20
        return {"type": "http.request", "body": bytes(1 << 20), "more_body": True}

    await rig.middleware({"type": "http", "method": "POST", "path": CHAT, "headers": []}, receive, rig._send)
    assert (rig.status, rig.headers["connection"]) == (413, "close")
    assert read < DRAIN_BYTES_MAX + (4 << 20)


async def test_more_answers_than_tokens_are_refused(node: FakeMetering, client: MeteringClient) -> None:
    """A server makes a token for each answer at least; what was set aside goes back."""
    node.limit = 3
    rig, upstream = caller(node, client, _refuses)
    finish = await rig.post(CHAT, {**ASKED, "n": 4})
    assert (rig.status, upstream.scopes, finish.usage) == (402, [], counts(0, 0))
    assert json.loads(rig.body)["error"]["param"] == "n"
    assert rig.headers["x-tallygate-request-id"] == node.reports[0].request_id


@pytest.mark.parametrize("streams", [True, False])
async def test_linked_limits_reach_the_server_together(
    node: FakeMetering, client: MeteringClient, *, streams: bool
) -> None:
    """A server refuses a minimum above the maximum."""
    node.limit = 14
    rig, upstream = caller(node, client, _refuses)
    await rig.post(CHAT, {**ASKED, "stream": streams, "max_tokens": 60, "max_completion_tokens": 50, "min_tokens": 40})
    passed = json.loads(upstream.bodies[0])
    assert [passed[name] for name in ("max_tokens", "max_completion_tokens", "min_tokens")] == [14, 14, 14]


async def test_an_answer_that_does_not_stream_is_asked_for_as_a_whole(
    node: FakeMetering, client: MeteringClient
) -> None:
    """With what has to be left for each answer; streams and what generates nothing are not."""
    rig, _ = caller(node, client, _refuses)
    for more, whole, least in (
        ({"stream": False, "n": 2}, True, 32),
        ({"stream": False, "min_tokens": 40}, True, 40),
        ({"stream": True}, False, 0),
    ):
        await rig.post(CHAT, {**ASKED, **more})
        asked = [report for report in node.reports if report.phase == report_pb2.REPORT_PHASE_AUTHORIZE][-1]
        assert (asked.whole, asked.min_output_tokens) == (whole, least)
    await rig.post("/v1/embeddings", {"model": "llama", "input": "Hi"})
    assert not [report for report in node.reports if report.phase == report_pb2.REPORT_PHASE_AUTHORIZE][-1].whole
