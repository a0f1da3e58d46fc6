"""Messages between a server and its app, in the terms of ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import suppress

from tallygate.integrations.asgi_types import Message, Receive, Scope

PIECE_BYTES_MAX = 256 << 10
"""Maximum size of a piece of an answer that is taken as a whole; parts of longer ones let others have their turn."""
ANSWERS_PAST_US = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""Messages, and the extensions that offer them, by which an app answers with a file or memory of its own."""


def with_length(scope: Scope, body_bytes: int) -> Scope:
    """The scope of a request as the app gets it: of the body's new length, and so that its answer can be read.

    The answer comes neither compressed nor past the counting, as a file that the server reads would.
    """
    left_out = {b"content-length", b"transfer-encoding", b"accept-encoding"}
    headers = [(name, value) for name, value in scope["headers"] if name not in left_out]
    changed = {**scope, "headers": [*headers, (b"content-length", b"%d" % body_bytes)]}
    extensions = scope.get("extensions")
    if extensions:
        changed["extensions"] = {name: value for name, value in extensions.items() if name not in ANSWERS_PAST_US}
    return changed


def body_slices(message: Message) -> Iterator[Message]:
    """A piece of a body in parts."""
    body, more = message["body"], message.get("more_body", False)
    for begin in range(0, len(body), PIECE_BYTES_MAX):
        end = begin + PIECE_BYTES_MAX
        yield {**message, "body": body[begin:end], "more_body": more or end < len(body)}


def lowered(message: Message) -> list[tuple[bytes, bytes]]:
    """An answer's headers, their names in lower case."""
    return [(name.lower(), value) for name, value in message.get("headers", ())]


def spec_version(scope: Scope) -> tuple[int, ...]:
    """The version of ASGI that the server speaks."""
    text = str(scope.get("asgi", {}).get("spec_version", "2.0"))
    return tuple(int(part) for part in text.split(".") if part.isdecimal())


async def until_gone(work: Coroutine[object, object, None], receive: Receive) -> None:
    """Does the work of an answer to its end, or until its client is gone: then it is cancelled."""
    working = asyncio.create_task(work, name="tallygate answer")
    gone = asyncio.create_task(_listen(receive), name="tallygate client of an answer")
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
    finally:
        gone.cancel()
        working.cancel()


async def _listen(receive: Receive) -> None:
    # The work goes first, with what it sends: listening takes as long as half of that.
    await asyncio.sleep(0)
    while (await receive())["type"] != "http.disconnect":
        pass
