"""The lifespan of an app, with a start and a close of one's own around it."""

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

    An app that knows no lifespan, and raises before it has sent anything, is served all the same.
    """
    has_received = has_sent = False

    async def app_receive() -> Message:
        nonlocal has_received
        has_received = True
        return await receive()

    async def app_send(message: Message) -> None:
        nonlocal has_sent
        has_sent = True
        if message["type"] == _STARTED:
            start()
        elif message["type"] in _ENDED:
            await close()
        await send(message)

    try:
        await app(scope, app_receive, app_send)
    except Exception:
        if has_sent:
            raise
    if not has_sent:
        if not has_received:
            await receive()
        await app_send({"type": _STARTED})
        await receive()
        await app_send({"type": "lifespan.shutdown.complete"})
