"""A proxy that refuses everything, and remembers what it was asked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Proxy:
    url: str
    asked: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A request is read to its end; then comes 403."""
        self.asked.append((await reader.readuntil(b"\r\n")).decode().strip())
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()


@asynccontextmanager
async def refusing_proxy() -> AsyncIterator[Proxy]:
    """Runs on a free port."""
    proxy = Proxy("")
    server = await asyncio.start_server(proxy.answer, "127.0.0.1", 0)
    proxy.url = f"http://user:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield proxy
