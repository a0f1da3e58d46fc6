"""What passes between Envoy and `tallygate envoy` in each mode and at each end, with a node that does as it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.envoy import passing
from tallygate.integrations.envoy.app import EnvoyUpstream
from tallygate.integrations.envoy.serve import Servicers
from tallygate.integrations.envoy.serve import serving as serving_envoy
from tallygate.metering.v1 import decision_pb2
from tests.harness.asgi.asgi_harness import DONE, delta, usage
from tests.harness.asgi.engine_harness import SERVICES, Serving, uvicorn_serving
from tests.harness.asgi.envoy_harness import Change, port_of, running_envoy, serving_by_envoy, unchanged
from tests.harness.asgi.fake_engine import FakeEngine
from tests.harness.asgi.raw_upstream import raw_upstream
from tests.harness.patience import PATIENCE_S, until
from tests.harness.ports import held_port
from tests.harness.wire.fake_metering import FakeMetering, serving

CHAT = "/v1/chat/completions"
ASK = {"model": "llama", "messages": [{"role": "user", "content": "?"}], "max_tokens": 5}
KEY = {"authorization": "Bearer sk-acme"}
STREAM = {**ASK, "stream": True}
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = EVENTS + b"Transfer-Encoding: chunked\r\n"
TRAILERS = "http_protocol_options: {enable_trailers: true}"


def chunk(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


@asynccontextmanager
async def metered(
    folder: Path, *, upstream: str = "", change: Change = unchanged, whole_answers: str = "hold"
) -> AsyncIterator[tuple[Serving, FakeMetering, httpx2.AsyncClient]]:
    async with (
        serving(FakeMetering()) as node,
        serving_by_envoy(
            [node.address], folder, upstream=upstream, change=change, whole_answers=whole_answers
        ) as served,
        httpx2.AsyncClient(base_url=served.url, headers=KEY, timeout=PATIENCE_S) as client,
    ):
        yield served, node, client
        assert node.wrong == []


async def recorded(node: FakeMetering) -> tuple[int, int, bool]:
    """Input and output tokens of the one request, and whether they are an estimate."""
    await until(lambda: bool(node.committed))
    (finish,) = node.committed.values()
    return finish.usage.input_tokens, finish.usage.output_tokens, finish.estimated


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("request_body_mode: FULL_DUPLEX_STREAMED", "request_body_mode: BUFFERED"),
        ("response_body_mode: FULL_DUPLEX_STREAMED", "response_body_mode: STREAMED"),
        ("request_header_mode: SEND", "request_header_mode: SKIP"),
        ("response_header_mode: SEND", "response_header_mode: SKIP"),
    ],
)
async def test_a_filter_in_another_mode_lets_nothing_pass(
    right: str, wrong: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets an error, and the log has the setting."""
    with caplog.at_level(logging.ERROR, "tallygate.integrations.envoy"):
        async with metered(tmp_path, change=lambda text: text.replace(right, wrong)) as (_, _, client):
            for _ in range(2):
                # Without its head, an answer cannot be replaced any more, only broken off.
                with suppress(httpx2.RemoteProtocolError):
                    answer = await client.post(CHAT, json=ASK)
                    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "gateway_setup")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "tallygate.integrations.envoy"]
    assert right.partition(":")[0] in line


async def test_refusals_are_in_the_words_of_the_route(tmp_path: Path) -> None:
    """With the time after which to come back, and nothing reaches the server."""
    async with metered(tmp_path) as (served, node, client):
        unknown = await client.post("/v1/unheard-of", json=ASK)
        node.denies_all = decision_pb2.DECISION_REASON_TOKEN_RATE
        openai = await client.post(CHAT, json=STREAM)
        anthropic = await client.post("/v1/messages", json=ASK)
        bad = await client.post(CHAT, content=b"{")
        empty = await client.post(CHAT)
    assert unknown.status_code == 404
    assert "TALLYGATE_ROUTES" in unknown.json()["error"]["message"]
    assert (openai.status_code, openai.headers["retry-after"]) == (429, "1")
    assert openai.json()["error"]["code"] == "rate_limit_exceeded"
    assert anthropic.json()["error"]["type"] == "rate_limit_error"
    assert (bad.status_code, empty.status_code) == (400, 400)
    assert served.engine.first_tokens == 0


async def test_what_envoy_refuses_itself_is_its_own_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of such a request the filter sees the answer alone; nothing is wrong with the filter."""
    async with metered(tmp_path) as (served, node, client):
        escaped = await client.post("/v1/chat%2Fcompletions", json=ASK)
        upgrade = await client.get("/v1/models", headers={"connection": "upgrade", "upgrade": "websocket"})
    assert (escaped.status_code, upgrade.status_code) == (400, 403)
    assert (served.engine.first_tokens, node.reports) == (0, [])
    assert "cannot be metered" not in caplog.text


async def test_free_requests_pass_as_they_are(tmp_path: Path) -> None:
    """With bodies of any length, and answers of any length; and without."""
    async with raw_upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"y" * 300_000) as upstream:
        async with metered(tmp_path, upstream=upstream.url) as (_, node, client):
            counted = await client.post("/tokenize", content=b"x" * 300_000, headers={"accept-encoding": "gzip"})
            listed = await client.get("/v1/models")
            head = await client.head("/v1/models")
        assert counted.text == listed.text == "y" * 300_000
        assert head.status_code == 200
        assert node.reports == []
        assert "accept-encoding: gzip" in upstream.requests[0].lower()


async def test_a_websocket_is_refused_unless_its_route_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, though its stream has no end; what is free passes both ways."""
    monkeypatch.setenv("TALLYGATE_ROUTES", "WEBSOCKET /free=free")
    said = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello"
    async with (
        raw_upstream(said, waits=True) as upstream,
        metered(
            tmp_path,
            upstream=upstream.url,
            change=lambda text: text.replace(
                "use_remote_address: true",
                "use_remote_address: true\n                upgrade_configs: [{upgrade_type: websocket}]",
            ),
        ) as (served, _, _),
    ):
        lines = []
        for path in ("/v1/realtime", "/free"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(served.url))
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
            )
            lines.append((await reader.readline()).split()[1])
            if path == "/free":
                await reader.readuntil(b"hello")
            writer.close()
    assert lines == [b"404", b"101"]


async def test_bodies_are_bounded_in_length_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy has no time-out for a body in full duplex."""
    monkeypatch.setenv("TALLYGATE_BODY_BYTES_MAX", "100000")
    async with metered(tmp_path) as (served, node, client):
        long = await client.post(CHAT, content=b"x" * 100_001)
        monkeypatch.setattr(passing, "BODY_STALL_S", 0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
        writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
        stalled = await reader.readline()
        writer.close()
    assert long.status_code == 413
    assert stalled.startswith(b"HTTP/1.1 408 ")
    assert node.reports == []


@pytest.mark.parametrize(("path", "status"), [("/tokenize", b"413"), (CHAT, b"408")])
async def test_answers_that_come_before_the_request_is_whole_reach_the_client(
    path: str, status: bytes, tmp_path: Path
) -> None:
    """Of a server that has seen enough of a free request, and of Envoy itself, which has waited for long enough."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Enough\r\nContent-Length: 4\r\n\r\nlong")
        await reader.read()
        writer.close()

    def change(text: str) -> str:
        return text.replace(
            "use_remote_address: true", "use_remote_address: true\n                request_timeout: 0.3s"
        )

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        upstream = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with metered(tmp_path, upstream=upstream, change=change if path == CHAT else unchanged) as (served, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(served.url))
            writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
            assert (await reader.readline()).split()[1] == status
            writer.close()


async def test_what_is_asked_of_the_server_is_hidden_from_the_client(tmp_path: Path) -> None:
    """Usage, asked for and taken out again; no compression; the id of the request among the headers."""
    said = CHUNKED + b"\r\n" + chunk(delta("a"), delta("b", finish="stop"), usage(7, 2), DONE, b"")
    async with raw_upstream(said) as upstream:
        async with metered(tmp_path, upstream=upstream.url) as (_, node, client):
            answer = await client.post(CHAT, json=STREAM, headers={"accept-encoding": "gzip"})
            assert await recorded(node) == (7, 2, False)
        (head,) = upstream.requests
    assert answer.content == delta("a") + delta("b", finish="stop") + DONE
    assert answer.headers["x-tallygate-request-id"] in node.committed
    assert node.reports[0].source_address == "127.0.0.1"
    assert "accept-encoding: identity\r\n" in head.lower()


@pytest.mark.parametrize("more", [b"", delta("b")])
async def test_an_answer_that_ends_by_trailers_ends(tmp_path: Path, more: bytes) -> None:
    """They come after all that was said, and what had been held back is said first."""
    said = CHUNKED + b"Trailer: x-sum\r\n\r\n" + chunk(delta("a"), more + usage(7, 2)) + b"0\r\nx-sum: 1\r\n\r\n"
    async with raw_upstream(said) as upstream:

        def change(text: str) -> str:
            text = text.replace("use_remote_address: true", f"use_remote_address: true\n                {TRAILERS}")
            return text.replace("connect_timeout: 5s", f"connect_timeout: 5s\n      {TRAILERS}")

        async with metered(tmp_path, upstream=upstream.url, change=change) as (served, node, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
            content = b'{"model": "llama", "messages": [], "stream": true}'
            head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-acme\r\nTE: trailers\r\n"
            # Trailers of the request, too.
            ends = b"%x\r\n%s\r\n0\r\nx-one: 1\r\n\r\n" % (len(content), content)
            writer.write(f"{head}Transfer-Encoding: chunked\r\nTrailer: x-one\r\n\r\n".encode() + ends)
            answer = await reader.readuntil(b"x-sum: 1\r\n\r\n")
            writer.close()
            assert await recorded(node) == (7, 2, False)
    assert delta("a") in answer
    assert more in answer
    assert b'"usage"' not in answer


async def test_an_upstream_that_dies_is_recorded_as_far_as_it_came(tmp_path: Path) -> None:
    """By an estimate; and half an answer is not made to look whole."""
    said = CHUNKED + b"\r\n" + chunk(delta("a"), delta("b"))
    async with (
        raw_upstream(said, waits=True) as upstream,
        metered(tmp_path, upstream=upstream.url) as (_, node, client),
    ):
        read = b""
        with pytest.raises(httpx2.RemoteProtocolError):
            async with client.stream("POST", CHAT, json=STREAM) as answer:
                async for piece in answer.aiter_raw():
                    read += piece
                    if read == delta("a") + delta("b"):
                        upstream.die()
        _, tokens, estimated = await recorded(node)
    assert (tokens, estimated) == (2, True)


async def test_an_upstream_that_dies_before_anything_was_said_to_the_client_is_a_clear_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Envoy's own answer takes the place of a head that was held back, since the whole was to be put together first."""
    async with (
        raw_upstream(CHUNKED + b"\r\n" + chunk(delta("a"), delta("b"))) as upstream,
        metered(tmp_path, upstream=upstream.url, whole_answers="stream") as (_, node, client),
    ):
        answer = await client.post(CHAT, json=ASK)
        assert (await recorded(node))[2] is True
    assert answer.status_code == 502
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_an_upstream_that_is_away_costs_nothing(tmp_path: Path) -> None:
    """Envoy's own answer reaches the client."""
    async with metered(tmp_path, upstream=f"http://127.0.0.1:{held_port()}") as (_, node, client):
        answer = await client.post(CHAT, json=STREAM)
        assert (await recorded(node))[:2] == (0, 0)
    assert answer.status_code == 503


async def test_a_client_that_leaves_before_the_answer_leaves_the_upstream(tmp_path: Path) -> None:
    """What it had put in is recorded, by an estimate."""
    async with raw_upstream(waits=True) as upstream, metered(tmp_path, upstream=upstream.url) as (_, node, client):
        asking = asyncio.create_task(client.post(CHAT, json=STREAM))
        await until(lambda: bool(upstream.requests))
        asking.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await upstream.has_ended.wait()
        went_in, tokens, estimated = await recorded(node)
    assert went_in > 0
    assert (tokens, estimated) == (0, True)


async def test_a_request_that_is_denied_while_the_server_thinks_is_answered_at_once(tmp_path: Path) -> None:
    """Nothing was answered yet, so that the client gets the refusal; the upstream is left."""
    async with raw_upstream(waits=True) as upstream, metered(tmp_path, upstream=upstream.url) as (_, node, client):
        asking = asyncio.create_task(client.post(CHAT, json=STREAM))
        await until(lambda: bool(upstream.requests))
        node.streams[0].stop(node.reports[0].request_id, decision_pb2.DECISION_REASON_SUSPENDED)
        answer = await asking
        async with asyncio.timeout(PATIENCE_S):
            await upstream.has_ended.wait()
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "suspended")


async def test_whole_answers_are_put_together_from_streams(tmp_path: Path) -> None:
    """For clients that asked for one, where the setting says so: errors of a stream, too."""
    async with metered(tmp_path, whole_answers="stream") as (_, node, client):
        answer = await client.post(CHAT, json=ASK)
        assert (await recorded(node))[1:] == (5, False)
    assert answer.json()["usage"]["completion_tokens"] == 5
    assert answer.headers["content-type"] == "application/json"


async def test_without_tallygate_nothing_passes(tmp_path: Path) -> None:
    """The sample's filter lets nothing pass where nobody answers it."""
    async with raw_upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as upstream:
        port = int(upstream.url.rpartition(":")[2])
        async with (
            running_envoy(tmp_path, upstream=port, tallygate=held_port()) as url,
            httpx2.AsyncClient(base_url=url, timeout=PATIENCE_S) as client,
        ):
            answers = [await client.post(CHAT, json=ASK), await client.get("/v1/models")]
        assert [answer.status_code for answer in answers] == [503, 503]
        assert upstream.requests == []


async def test_a_server_that_refuses_to_say_usage_is_asked_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Envoy sends a request once; the log has the setting by which the next ones pass."""
    said = b"HTTP/1.1 422 Unprocessable\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    async with raw_upstream(said) as upstream:
        async with metered(tmp_path, upstream=upstream.url) as (_, node, client):
            answer = await client.post(CHAT, json=STREAM)
            assert await recorded(node) == (0, 0, False)
        assert len(upstream.requests) == 1
    assert answer.status_code == 422
    assert "TALLYGATE_STREAM_USAGE=final" in caplog.text


async def test_a_server_that_ends_breaks_its_streams_off_and_records_them(tmp_path: Path) -> None:
    """What had been read is on record, though Envoy cancelled the stream; and the upstream stops."""
    engine, port = FakeEngine(pauses={"u": 3}), held_port()
    async with serving(FakeMetering()) as node, uvicorn_serving(engine, lifespan="off") as upstream:
        middleware = MeteringMiddleware(EnvoyUpstream(), client=MeteringClient([node.address]), services=SERVICES)
        async with running_envoy(tmp_path, upstream=port_of(upstream), tallygate=port) as url:
            ended = asyncio.Event()
            async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:

                async def read() -> None:
                    content = {**STREAM, "max_tokens": 9, "user": "u"}
                    async with client.stream("POST", CHAT, json=content, headers=KEY) as answer:
                        got = b""
                        async for piece in answer.aiter_raw():
                            got += piece
                            if got.count(b'"tok "') == 3:
                                ended.set()

                async with serving_envoy(f"127.0.0.1:{port}", Servicers(middleware), grace_s=0):
                    reading = asyncio.create_task(read())
                    async with asyncio.timeout(PATIENCE_S):
                        await ended.wait()
                with pytest.raises(httpx2.RemoteProtocolError):
                    await reading
            await until(lambda: not engine.running)
        assert (await recorded(node))[1:] == (3, True)
