"""Load through Envoy: an upstream whose text is the moment of each chunk, and clients that look at the clock."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

INPUT_TOKENS = 5
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_BODY = b'{"model": "llama", "stream": true, "messages": [{"role": "user", "content": "?"}]}'
_SENT = re.compile(rb'"content":"(\d+) "')
_END = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Pace:
    """So many streams at once, of so many chunks each, one every `interval_s`."""

    streams: int
    chunks: int
    interval_s: float


@dataclass(slots=True)
class Seen:
    """Milliseconds from the request to the first chunk, and from each chunk's sending to its arrival."""

    first_ms: list[float] = field(default_factory=list)
    chunk_ms: list[float] = field(default_factory=list)


@asynccontextmanager
async def upstream(pace: Pace) -> AsyncIterator[int]:
    """An upstream that answers at once, chunk by chunk; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await _drop_body(reader, head.lower())
                await _answer(writer, pace)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def all_streams(port: int, pace: Pace) -> Seen:
    """All streams, which begin evenly over one interval."""
    seen = Seen()

    async def one(number: int) -> None:
        await asyncio.sleep(number * pace.interval_s / pace.streams)
        await stream(port, seen)

    await asyncio.gather(*(one(number) for number in range(pace.streams)))
    return seen


async def stream(port: int, seen: Seen) -> None:
    """One stream, to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(_BODY)}\r\n\r\n"
    begin_ns = time.perf_counter_ns()
    writer.write(lines.encode() + _BODY)
    read, looked_at, is_first = b"", 0, True
    while _END not in read[-64:]:
        piece = await reader.read(1 << 16)
        now_ns = time.perf_counter_ns()
        assert piece, f"the answer broke off: {read[-200:]!r}"
        read += piece
        # A chunk counts when all of it is here.
        whole = read.rfind(b"\n\n") + 2
        for found in _SENT.finditer(read, looked_at, whole):
            seen.chunk_ms.append((now_ns - int(found[1])) / 1e6)
            if is_first:
                seen.first_ms.append((now_ns - begin_ns) / 1e6)
                is_first = False
        looked_at = max(looked_at, whole)
    writer.close()


async def _drop_body(reader: asyncio.StreamReader, head: bytes) -> None:
    if b"transfer-encoding: chunked" in head:
        await reader.readuntil(b"0\r\n\r\n")
    else:
        # Clients may ask for more than streams, such as which models there are.
        await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or b"0"))


async def _answer(writer: asyncio.StreamWriter, pace: Pace) -> None:
    writer.write(_HEAD)
    due_s = time.perf_counter()
    for _ in range(pace.chunks):
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        choice = b'{"index":0,"delta":{"content":"%d "},"finish_reason":null}' % time.perf_counter_ns()
        _write(writer, b'{"id":"c","object":"chat.completion.chunk","created":1,"choices":[%s]}' % choice)
        due_s += pace.interval_s
    usage = b'{"prompt_tokens":%d,"completion_tokens":%d}' % (INPUT_TOKENS, pace.chunks)
    _write(writer, b'{"id":"c","choices":[],"usage":%s}' % usage)
    writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(_END), _END))
    await writer.drain()


def _write(writer: asyncio.StreamWriter, content: bytes) -> None:
    event = b"data: %s\n\n" % content
    writer.write(b"%x\r\n%s\r\n" % (len(event), event))
