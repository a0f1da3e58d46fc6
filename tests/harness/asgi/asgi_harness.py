"""An app behind the middleware, called as an ASGI server calls it, with a metering node that does as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.asgi_types import Message, Receive, Scope, Send
from tallygate.metering.v1 import report_pb2, token_usage_pb2
from tests.harness.patience import until
from tests.harness.wire.fake_metering import FakeMetering

SERVICE = "accounts/acme/services/chat"
EVENT_STREAM = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
Behaviour = Callable[["Upstream", Receive, Send], Awaitable[None]]


@dataclass(eq=False)
class Upstream:
    """The app: notes what it was asked, then behaves."""

    behave: Behaviour
    bodies: list[bytes] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    told_that_nobody_listens: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.bodies.append((await receive())["body"])
        await self.behave(self, receive, send)

    async def wait_gone(self, receive: Receive) -> None:
        assert (await receive())["type"] == "http.disconnect"
        self.told_that_nobody_listens = True


@dataclass(eq=False)
class Caller:
    """The server that the middleware runs in, and the client behind it."""

    middleware: MeteringMiddleware
    node: FakeMetering
    spec_version: str = "2.3"
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    is_complete: bool = False
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    error: BaseException | None = None
    on_piece: Callable[[Caller], None] = lambda _caller: None

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    async def post(
        self, path: str, content: Any, *, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> report_pb2.TokenReport:
        """Posts and returns the finish that was recorded."""
        await self._call(path, content, headers)
        request_id = self.headers.get("x-tallygate-request-id") or self.node.reports[-1].request_id
        await until(lambda: request_id in self.node.committed)
        return self.node.committed[request_id]

    async def ask(self, path: str, content: Any, *, headers: Iterable[tuple[bytes, bytes]] = ()) -> Any:
        """Posts what is refused; returns the answer, which is JSON."""
        await self._call(path, content, headers)
        return json.loads(self.body)

    async def _call(self, path: str, content: Any, headers: Iterable[tuple[bytes, bytes]]) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": self.spec_version},
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(b"content-length", b"%d" % len(raw)), *headers],
            "client": ("192.0.2.7", 4711),
        }
        messages: list[Message] = [{"type": "http.request", "body": raw, "more_body": False}]

        async def receive() -> Message:
            if messages:
                return messages.pop(0)
            await self.hung_up.wait()
            return {"type": "http.disconnect"}

        try:
            await self.middleware(scope, receive, self._send)
        except Exception as error:  # noqa: BLE001  # the test looks at it
            self.error = error

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            return
        assert not self.is_complete, "nothing may be said after the end"
        self.pieces.append(message.get("body", b""))
        self.is_complete = not message.get("more_body", False)
        self.on_piece(self)


def caller(node: FakeMetering, client: MeteringClient, behave: Behaviour) -> tuple[Caller, Upstream]:
    """A caller of an app that behaves so."""
    upstream = Upstream(behave)
    return Caller(MeteringMiddleware(upstream, client=client, services=SERVICE), node), upstream


def event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


def delta(text: str, *, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def usage(went_in: int, came_out: int) -> bytes:
    return event({"id": "c", "choices": [], "usage": {"prompt_tokens": went_in, "completion_tokens": came_out}})


async def start(send: Send, kind: str = EVENT_STREAM, status: int = 200) -> None:
    headers = [(b"Content-Type", kind.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def say(send: Send, *pieces: bytes, more: bool = True) -> None:
    for at, piece in enumerate(pieces):
        await send({"type": "http.response.body", "body": piece, "more_body": more or at < len(pieces) - 1})


def counts(went_in: int, came_out: int, cached: int = 0, written: int = 0) -> token_usage_pb2.TokenUsage:
    """What is to be on record."""
    return token_usage_pb2.TokenUsage(
        input_tokens=went_in, output_tokens=came_out, cached_input_tokens=cached, cache_write_tokens=written
    )


def streams(*events: bytes, kind: str = "text/event-stream") -> Behaviour:
    """An app that answers with these pieces."""

    async def behave(_upstream: Upstream, _receive: Receive, send: Send) -> None:
        await start(send, kind)
        await say(send, *events, more=False)

    return behave


def answers(content: Any) -> Behaviour:
    """An app that answers with this JSON."""
    return streams(json.dumps(content).encode(), kind="application/json")


def generated(made: int, *, index: int = 0, reason: Any = None) -> dict[str, Any]:
    """A chunk of SGLang's generate, with so many tokens."""
    meta = {"id": "g", "finish_reason": reason, "prompt_tokens": 10, "completion_tokens": made, "cached_tokens": 4}
    return {"text": "tok " * made, "output_ids": [7] * made, "meta_info": meta, "index": index}
