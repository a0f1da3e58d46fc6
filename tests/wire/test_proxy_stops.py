"""The proxy behind the middleware: a stop is between two events, however many of them the upstream sends at a time."""

from __future__ import annotations

import httpx2
import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.asgi_types import Receive, Scope, Send
from tallygate.integrations.proxy.app import ProxyApp, ProxySettings
from tallygate.integrations.proxy.upstreams import read_upstreams
from tallygate.metering.v1 import decision_pb2
from tests.harness.asgi.asgi_harness import SERVICE, delta
from tests.harness.asgi.engine_harness import uvicorn_serving
from tests.harness.asgi.raw_upstream import raw_upstream
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.fake_metering import FakeMetering

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
GRANTED = 20
GENERATED = 200


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
async def test_of_many_events_at_once_no_more_pass_than_were_granted(
    node: FakeMetering, client: MeteringClient, line_end: bytes
) -> None:
    """Whichever of the two ends its lines have; the record has all that was generated."""
    node.step = GRANTED
    answer = (delta("Hi") * GENERATED).replace(b"\n", line_end)
    async with raw_upstream(HEAD + answer) as upstream:
        proxy = ProxyApp(read_upstreams([upstream.url]), ProxySettings())

        async def without_more(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                node.denies_all = decision_pb2.DECISION_REASON_BALANCE_INSUFFICIENT
            await proxy(scope, receive, send)

        metered = MeteringMiddleware(without_more, client=client, services=lambda _key, _model: SERVICE)
        async with uvicorn_serving(metered) as url, httpx2.AsyncClient(base_url=url, timeout=PATIENCE_S) as caller:
            asked = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "?"}]}
            said = (await caller.post("/v1/chat/completions", json=asked)).text
    assert said.count('"Hi"') == GRANTED
    assert '"finish_reason":"length"' in said.replace(" ", "")
    assert node.reports[-1].usage.output_tokens == GENERATED
