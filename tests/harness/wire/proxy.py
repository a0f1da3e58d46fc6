"""A proxy that refuses everything, and remembers what it was asked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    url: str
    asked: list[str] = field(default_factory=list)
    answering: set[asyncio.Task[None]] = field(default_factory=set)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A request is read to its end; then comes 403."""
        task = asyncio.current_task()
        assert task is not None
        self.answering.add(task)
        try:
            self.asked.append((await reader.readuntil(b"\r\n")).decode().strip())
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        except asyncio.IncompleteReadError:
            pass  # Its client is gone.
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self.answering.discard(task)


@asynccontextmanager
async def refusing_proxy() -> AsyncIterator[Proxy]:
    """Runs on a free port, until the last connection to it is closed."""
    proxy = Proxy("")
    server = await asyncio.start_server(proxy.answer, "127.0.0.1", 0)
    proxy.url = f"http://user:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield proxy
        server.close()
        # A connection that was accepted a moment ago has its task with the next turn of the loop.
        await asyncio.sleep(0)
        for task in proxy.answering:
            task.cancel()
        await asyncio.gather(*proxy.answering, return_exceptions=True)
