"""What clients are told of rate rules: figures of their own on every answer, and when to try again."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from tallygate.client import MeteringClient
from tallygate.integrations.asgi_types import Receive, Send
from tallygate.metering.v1 import decision_pb2
from tests.harness.asgi.asgi_harness import DONE, Upstream, caller, delta, say, usage
from tests.harness.wire.fake_metering import FakeMetering

CHAT = "/v1/chat/completions"
ASKED = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x" * 40}]}


def rate_of(place: str) -> decision_pb2.RateStatus:
    return decision_pb2.RateStatus(
        rate_rule="accounts/acme/rateRules/per-key",
        place=place,
        metric="TOTAL_TOKENS",
        limit_units=60_000,
        period=Duration(seconds=60),
        remaining_units=1_234,
        reset_after=Duration(seconds=7, nanos=500_000_000),
    )


async def _streams(_upstream: Upstream, _receive: Receive, send: Send) -> None:
    """A server that has figures of its own."""
    headers = [(b"Content-Type", b"text/event-stream"), (b"X-RateLimit-Limit-Tokens", b"7")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await say(send, delta("tok"), usage(12, 1), DONE, more=False)


async def test_an_answer_has_the_figures_of_its_rule(node: FakeMetering, client: MeteringClient) -> None:
    """In the place of those that the server says."""
    node.rate = rate_of("accounts/acme/keys/app")
    rig, _ = caller(node, client, _streams)
    await rig.post(CHAT, ASKED)
    figures = {name: value for name, value in rig.headers.items() if name.startswith("x-ratelimit")}
    assert figures == {
        "x-ratelimit-limit-tokens": "60000",
        "x-ratelimit-remaining-tokens": "1234",
        "x-ratelimit-reset-tokens": "7.5s",
    }


@pytest.mark.parametrize("place", ["models/m", ""])
async def test_others_figures_stay_with_the_node(node: FakeMetering, client: MeteringClient, place: str) -> None:
    """Then the server's own pass, as they do without any rule."""
    node.rate = rate_of(place) if place else None
    rig, _ = caller(node, client, _streams)
    await rig.post(CHAT, ASKED)
    figures = {name: value for name, value in rig.headers.items() if name.startswith("x-ratelimit")}
    assert figures == {"x-ratelimit-limit-tokens": "7"}
