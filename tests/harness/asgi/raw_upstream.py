"""An upstream that answers with bytes as they are told, whatever HTTP says of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

BODY_BYTES_MAX = 1 << 20


@dataclass(eq=False)
class RawUpstream:
    """`answers`: pieces of each answer; after them the connection is closed. `requests`: heads, as they came."""

    answers: Sequence[bytes]
    url: str = ""
    requests: list[str] = field(default_factory=list)
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)
    """A client has closed a connection."""
    waits: bool = False
    """Whether the connection is kept open after the answer, until its client closes it, or `die`."""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.requests.append(head)
        for line in head.lower().splitlines():
            if line.startswith("content-length:"):
                await reader.readexactly(int(line.partition(":")[2]))
            if line.startswith("transfer-encoding:"):
                await reader.readuntil(b"\r\n0\r\n")
                while await reader.readline() != b"\r\n":
                    pass
        for piece in self.answers:
            writer.write(piece)
            await writer.drain()
        if self.waits:
            await reader.read()
            self.has_ended.set()
        writer.close()

    def die(self) -> None:
        """Closes all connections."""
        for writer in self.writers:
            writer.close()


@asynccontextmanager
async def raw_upstream(*answers: bytes, waits: bool = False) -> AsyncIterator[RawUpstream]:
    """Serves one on a free port."""
    upstream = RawUpstream(answers, waits=waits)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, limit=BODY_BYTES_MAX)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()
