"""Starting and closing something along with the app that is served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tallygate.integrations.asgi_types import App, Message, Receive, Scope, Send

_STARTED = "lifespan.startup.complete"
_ENDED = {"lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"}


async def run_lifespan(
    app: App,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    start: Callable[[], None],
    close: Callable[[], Awaitable[None]],
) -> None:
    """Runs the app's lifespan: `start` before it is served, `close` after its shutdown.

    An app that knows no lifespan, and says so by raising before it has sent anything, is served all the same.
    """
    has_heard = has_spoken = False

    async def hear() -> Message:
        nonlocal has_heard
        has_heard = True
        return await receive()

    async def speak(message: Message) -> None:
        nonlocal has_spoken
        has_spoken = True
        if message["type"] == _STARTED:
            start()
        elif message["type"] in _ENDED:
            await close()
        await send(message)

    try:
        await app(scope, hear, speak)
    except Exception:
        if has_spoken:
            raise
    if not has_spoken:
        if not has_heard:
            await receive()
        await speak({"type": _STARTED})
        await receive()
        await speak({"type": "lifespan.shutdown.complete"})
