"""Documents of issuers over real HTTP: what is taken, and what is not waited for."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from control_service.oidc.fetch import DOCUMENT_BYTES_MAX, FetchError, HttpFetch
from tests.harness.patience import PATIENCE_S

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers every request by the script; its address, and the requests."""
    requests: list[bytes] = []
    open_connections = asyncio.TaskGroup()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        with suppress(ConnectionError):
            await script(writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.create_task(answer(reader, writer))

    async with open_connections, await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


def saying(body: bytes, status: str = "200 OK", headers: str = "") -> Script:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body)

    return script


async def test_a_document_is_an_object_of_json() -> None:
    """Asked for as such."""
    async with serving(saying(b'{"keys": []}')) as (url, requests):
        assert await HttpFetch(timeout_s=PATIENCE_S)(url) == {"keys": []}
    assert b"accept: application/json" in requests[0].lower()


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (saying(b"{}", "404 Not Found"), "answered with status 404"),
        (saying(b"{}", "201 Created"), "answered with status 201"),
        (saying(b"[]"), "answered with JSON that is no object"),
        (saying(b"<html>"), "answered with something that is not JSON"),
        (saying(b"[" * 100_000), "answered with something that is not JSON"),
        (saying(b"\xff"), "answered with something that is not JSON"),
        (saying(b'{"a": ' + b"9" * 10_000 + b"}"), "answered with something that is not JSON"),
        (saying(gzip.compress(b"{}"), headers="content-encoding: gzip\r\n"), "answered in an encoding"),
        (saying(b" " * (DOCUMENT_BYTES_MAX + 1)), "answered with more than"),
        (saying(b"not HTTP", "nonsense nonsense"), "could not be read"),
    ],
)
async def test_answers_that_are_not_taken(script: Script, problem: str) -> None:
    """Each is said in a few words that go after the address."""
    async with serving(script) as (url, _):
        with pytest.raises(FetchError, match=problem):
            await HttpFetch(timeout_s=PATIENCE_S)(url)


async def test_the_largest_document_is_taken() -> None:
    """It is as long as the maximum."""
    async with serving(saying(b"{}" + b" " * (DOCUMENT_BYTES_MAX - 2))) as (url, _):
        assert await HttpFetch(timeout_s=PATIENCE_S)(url) == {}


async def test_redirects_are_not_followed() -> None:
    """They could lead to where nobody trusts anybody."""
    async with serving(saying(b'{"keys": []}')) as (target, requests):
        moved = saying(b"", "302 Found", f"location: {target}\r\n")
        async with serving(moved) as (url, _):
            with pytest.raises(FetchError, match="answered with status 302"):
                await HttpFetch(timeout_s=PATIENCE_S)(url)
    assert requests == []


async def test_an_endless_answer_is_not_read_on() -> None:
    """Though it never says how long it is."""

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 10_000)
            await writer.drain()

    # The server ends its part only when the connection is gone.
    async with serving(endless) as (url, _):
        with pytest.raises(FetchError, match="answered with more than"):
            await HttpFetch(timeout_s=PATIENCE_S)(url)


async def test_a_silent_server_is_not_waited_for() -> None:
    """Nor one that says a byte now and then."""

    async def dripping(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(dripping) as (url, _):
        with pytest.raises(FetchError, match=r"did not answer within 0\.2 s"):
            await HttpFetch(timeout_s=0.2)(url)


async def test_nobody_is_there() -> None:
    """The address of a server that has gone."""
    async with serving(saying(b"{}")) as (url, _):
        pass
    with pytest.raises(FetchError, match="could not be read"):
        await HttpFetch(timeout_s=PATIENCE_S)(url)


async def test_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    async with serving(saying(b"{}")) as (url, _):
        assert await HttpFetch(timeout_s=PATIENCE_S)(url) == {}
