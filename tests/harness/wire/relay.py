"""A relay of bytes to a node, whose connections break when a test says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

CHUNK_BYTES = 65_536


@dataclass(eq=False)
class Relay:
    """`late_s`: number of seconds that the target's first bytes take to come, as from far away."""

    target: str
    late_s: float = 0.0
    address: str = ""
    is_away: bool = False
    relaying: set[asyncio.Task[None]] = field(default_factory=set)

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both ways of one connection, until either side ends it. While the target is away, none comes about."""
        if self.is_away:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self.relaying.add(task)
        host, _, port = self.target.rpartition(":")
        with suppress(OSError, asyncio.CancelledError):
            there_reader, there_writer = await asyncio.open_connection(host, int(port))
            ways = [
                asyncio.create_task(_pipe(reader, there_writer)),
                asyncio.create_task(_pipe(there_reader, writer, self.late_s)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                there_writer.close()
        writer.close()
        self.relaying.discard(task)

    def cut(self) -> None:
        """Breaks every connection, with whatever is on its way."""
        for task in self.relaying:
            task.cancel()

    def leave(self) -> None:
        """Nobody reaches the target until it comes back."""
        self.is_away = True
        self.cut()

    def come_back(self) -> None:
        """The target can be reached again."""
        self.is_away = False


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late_s: float = 0.0) -> None:
    await asyncio.sleep(late_s)
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def relaying(target: str, late_s: float = 0.0) -> AsyncIterator[Relay]:
    """Runs on a free port."""
    relay = Relay(target, late_s)
    server = await asyncio.start_server(relay.relay, "127.0.0.1", 0)
    relay.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield relay
        relay.cut()
        server.close()
        await asyncio.gather(*relay.relaying, return_exceptions=True)
