"""A receiver of webhooks: a real HTTP server on loopback that does with messages as a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

from standardwebhooks import Webhook as Verifier


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """What the message says, if the secret signs it."""
        return Verifier(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """`status` answers the next requests; `before_answer` is awaited first. Taken are those that were answered 200."""

    status: int = 200
    extra: str = ""
    answer: bytes = b""
    before_answer: Callable[[], Awaitable[None]] | None = None
    received: list[Received] = field(default_factory=list)
    taken: list[Received] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader)
            self.received.append(request)
            if self.before_answer is not None:
                await self.before_answer()
            if self.status == 200:
                self.taken.append(request)
            head = f"HTTP/1.1 {self.status} Some\r\ncontent-length: {len(self.answer)}\r\n{self.extra}\r\n"
            writer.write(head.encode() + self.answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Received(line.split(" ")[1], headers, body)


@asynccontextmanager
async def running_receiver(receiver: Receiver | None = None, tls: SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Listens on a port of its own, or on the one that was reserved for it."""
    receiver = receiver or Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", receiver.port, ssl=tls, reuse_port=True)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
