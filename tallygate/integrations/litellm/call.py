"""One call of LiteLLM's, as a request to the middleware: hooks on one side, an app of ASGI on the other."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

from tallygate.integrations.asgi_messages import until_gone
from tallygate.integrations.asgi_types import App, Message, Receive, Scope, Send
from tallygate.integrations.litellm.reading import answer_of, event_of

CALL: Final = "tallygate.litellm_call"
_AHEAD_MAX: Final = 2
"""Maximum number of chunks that are read before LiteLLM has taken those before them."""
_DONE: Final = b"data: [DONE]\n\n"
_BODY: Final = "http.response.body"
_END: Final = object()
_NOTHING: Final = b'{"error": {"message": "No model has answered."}}'
"""Answer that costs nothing."""


class RefusedError(Exception):
    """The call may not run; `status`, `headers` and `body` are the answer to its client."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """As the middleware sent it."""
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


async def bridge(scope: Scope, receive: Receive, send: Send) -> None:
    """The app behind the middleware: it answers a call with what LiteLLM's hooks give it."""
    await scope[CALL].answer(receive, send)


class MeteredCall:
    """A call that asks to run, is given its answer by hooks, and says what of it may be shown."""

    def __init__(self, scope: Scope, body: bytes) -> None:
        """Begins; nothing runs before `authorize`."""
        self._scope = {**scope, CALL: self}
        self._body = body
        self._has_asked = False
        self._allowed: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._start: Message = {"status": 500, "headers": []}
        self._refusal = b""
        self._left = asyncio.Event()
        self._sent: deque[tuple[bytes, object]] = deque()
        self._shown: asyncio.Queue[object] = asyncio.Queue()
        self._room = asyncio.Semaphore(_AHEAD_MAX)
        self._streams = False
        self.has_begun = False
        """Whether LiteLLM has sent it to a model."""

    @property
    def headers(self) -> dict[str, str]:
        """Headers that the middleware adds to an answer, or to a refusal."""
        pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in self._start["headers"])
        return {name: value for name, value in pairs if not name.startswith("content-")}

    async def authorize(self, metered: App) -> bytes:
        """The body with which it may run.

        Raises:
            RefusedError: It may not.
        """
        self._task = asyncio.create_task(self._run(metered), name="tallygate LiteLLM call")
        waiting: set[asyncio.Future[Any]] = {self._task, self._allowed}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._left.set()
            raise
        if self._allowed.done():
            return self._allowed.result()
        self._task.result()
        raise RefusedError(self._start["status"], self.headers, self._refusal)

    async def pass_on(self, chunks: AsyncIterator[object]) -> AsyncGenerator[object, None]:
        """A stream as far as it may go on; where it must stop, with an end that clients understand."""
        assert self._task is not None
        self._streams = True
        self._give(chunks)
        try:
            while (shown := await self._shown.get()) is not _END:
                self._room.release()
                yield shown
            self._task.result()
        finally:
            await self._leave()
            await _close(chunks)

    async def record(self, response: object) -> None:
        """Records an answer that came as a whole."""
        self._give(answer_of(response))
        await self._finished()

    async def fail(self) -> None:
        """Records that no model has answered; of a stream that another hook broke off, what LiteLLM has read of it.

        LiteLLM says so before it closes the stream, so that nobody takes its chunks any more.
        """
        if self._streams:
            await self._leave()
            return
        self._give(_NOTHING)
        await self._finished()

    def abandon(self) -> None:
        """No hook will speak of it any more, unless one has."""
        if self._answered.done():
            return
        if not self.has_begun:
            self._give(_NOTHING)
        self._left.set()

    async def answer(self, receive: Receive, send: Send) -> None:
        """As an app: hands out the body with which it may run, and answers with what the hooks give.

        The answer begins at once, so that nothing ends it in favour of a refusal: LiteLLM cannot stop a whole one, and
        of a stream it has no chunk to end it with before the first.
        """
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self._allowed.set_result(message["body"])
        await until_gone(self._answer(send), receive)

    async def _run(self, metered: App) -> None:
        try:
            await metered(self._scope, self._receive, self._send)
        finally:
            self._shown.put_nowait(_END)

    async def _answer(self, send: Send) -> None:
        given = await self._answered
        if isinstance(given, bytes):
            await send({"type": _BODY, "body": given, "more_body": False})
            return
        try:
            async for chunk in given:
                event = event_of(chunk)
                self._sent.append((event, chunk))
                await send({"type": _BODY, "body": event, "more_body": True})
        finally:
            # By this the server behind learns that nobody listens.
            await _close(given)
        await send({"type": _BODY, "body": b"", "more_body": False})

    async def _leave(self) -> None:
        """Nobody waits for the rest, if there is one; it is not generated any more."""
        self._left.set()
        self._room.release()
        await self._finished()

    async def _receive(self) -> Message:
        if not self._has_asked:
            self._has_asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] != _BODY:
            self._start = message
        elif not self._allowed.done():
            self._refusal += message.get("body", b"")
        elif self._streams and message.get("body"):
            await self._show(message["body"])

    async def _show(self, shown: bytes) -> None:
        """Chunks go on as LiteLLM made them; what else is shown ends the stream, and goes on as it is written."""
        while self._sent and shown.startswith(self._sent[0][0]):
            event, chunk = self._sent.popleft()
            shown = shown[len(event) :]
            await self._put(chunk)
        # LiteLLM writes this mark by itself.
        rest = shown.removesuffix(_DONE)
        if rest:
            await self._put(rest)

    async def _put(self, item: object) -> None:
        if not self._left.is_set():
            await self._room.acquire()
            self._shown.put_nowait(item)

    def _give(self, answer: object) -> None:
        if not self._answered.done():
            self._answered.set_result(answer)

    async def _finished(self) -> None:
        if self._task is not None:
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                # Of a call that is over, what went wrong has been recorded.
                self._task.exception()


async def _close(chunks: object) -> None:
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()


def error_in(body: bytes) -> dict[str, Any]:
    """The error in a refusal's body, as the APIs of OpenAI and Anthropic have it."""
    found: dict[str, Any] = json.loads(body)["error"]
    return found
