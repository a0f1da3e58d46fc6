"""Every way to a model that a connection has, through a real server: metered or refused, whatever HTTP allows."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from urllib.parse import unquote, urlsplit

import pytest

from tallygate.client import MeteringClient
from tallygate.integrations import known_routes
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.proxy.app import ProxyApp, ProxySettings
from tallygate.integrations.proxy.upstreams import read_upstreams
from tests.harness.asgi.asgi_harness import SERVICE
from tests.harness.asgi.engine_harness import uvicorn_serving
from tests.harness.asgi.raw_upstream import RawUpstream, raw_upstream
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.fake_metering import FakeMetering

BODY = b'{"model": "m", "prompt": "hi", "messages": [{"role": "user", "content": "hi"}], "n": 2, "best_of": 2}'
ANSWER = b'{"usage": {"prompt_tokens": 5, "completion_tokens": 7}, "choices": [{"text": "a"}, {"text": "b"}]}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
PLAIN = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(BODY)
CHUNKED = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: x-a\r\n"
CHUNKS = b"5\r\n%s\r\n%x\r\n%s\r\n0\r\nX-A: b\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])
FREE = {path for _, path in known_routes.FREE}
READS = {"GET", "HEAD", "OPTIONS"}

TARGETS = [
    spelled
    for path in (
        *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/audio/transcriptions", "/v1/realtime"),
        *("/v1/images/generations", "/v1/audio/speech", "/v1/batches", "/v1/files", "/v1/threads/runs", "/completion"),
        *("/v1/messages/count_tokens", "/"),
    )
    for spelled in (
        path,
        f"{path}/",
        f"/{path}",
        f"{path}?stream=true",
        f"http://other.example{path}",
        path.replace("/v1", "/V1"),
        path.replace("/v1/", "/v1%2F"),
        path.replace("/v1/", "/v1/./"),
        path.replace("/v1/", "/tokenize/../v1/"),
        path.replace("/v1/", "/tokenize/%2e%2e/v1/"),
        path.replace("comp", "%63omp"),
        f"{path};a=b",
        f"{path}%00",
    )
]
BODIES = [(PLAIN, BODY), (CHUNKED, CHUNKS)]
OTHERS = [
    # Method, version, head and body beside those that are crossed with all targets.
    ("POST", "1.0", PLAIN, BODY),
    ("GET", "1.0", b"", b""),
    ("HEAD", "1.1", b"", b""),
    ("OPTIONS", "1.1", b"", b""),
    ("GET", "1.1", PLAIN, BODY),
    ("GET", "1.1", PLAIN + b"X-HTTP-Method-Override: POST\r\n", BODY),
    ("GET", "1.1", b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", b""),
    ("POST", "1.1", b"Content-Encoding: gzip\r\n" + PLAIN, BODY),
    ("POST", "1.1", b"Content-Type: text/plain\r\nContent-Length: %d\r\n" % len(BODY), BODY),
    ("POST", "1.1", b"Content-Length: 0\r\n", b""),
    ("PUT", "1.1", PLAIN, BODY),
    ("PATCH", "1.1", PLAIN, BODY),
    ("DELETE", "1.1", b"", b""),
    ("TRACE", "1.1", b"", b""),
    ("QUERY", "1.1", PLAIN, BODY),
    ("post", "1.1", PLAIN, BODY),
]


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with raw_upstream(HEAD + ANSWER) as upstream:
        yield upstream


async def send(url: str, request: bytes) -> bytes:
    """Writes a request as it is, and reads the answer to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    writer.write(request)
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    return answer


def may_run_a_model(head: str) -> bool:
    """Whether a server that is as tolerant as can be might run a model for this."""
    method, target, _ = head.partition("\r\n")[0].split(" ")
    path = re.sub(r"/+", "/", unquote(urlsplit(target).path)).rstrip("/").lower().partition(";")[0]
    return method.upper() not in READS and path not in FREE


async def test_whatever_reaches_a_model_was_authorised(
    node: FakeMetering, client: MeteringClient, upstream: RawUpstream
) -> None:
    """By every spelling of a path and every method, version, framing and encoding; all else is refused, or reads."""
    proxy = ProxyApp(read_upstreams([upstream.url]), ProxySettings())
    metered = MeteringMiddleware(proxy, client=client, services=lambda _key, _model: SERVICE)
    crossed = [("POST", "1.1", head, body) for head, body in BODIES]
    asked = [*itertools.product(TARGETS, crossed), *itertools.product(TARGETS[::13], OTHERS)]
    async with uvicorn_serving(metered) as url:
        for target, (method, version, head, body) in asked:
            upstream.requests.clear()
            authorised = len(node.reports)
            line = f"{method} {target} HTTP/{version}\r\nHost: x\r\nConnection: close, upgrade\r\n".encode()
            answer = await send(url, line + head + b"\r\n" + body)
            for reached in upstream.requests:
                assert len(upstream.requests) == 1
                assert may_run_a_model(reached) <= (len(node.reports) > authorised), (target, method, version, head)
            if not upstream.requests:
                assert b" 200 " not in answer.partition(b"\r\n")[0], (target, method, version, head)
    assert metered.requests["metered"] >= 10
