"""How long tests wait for what must happen: until it has, and on any machine long enough."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

PATIENCE_S = 120.0
"""Maximum wait for a condition. However busy the machine, what happens at all happens sooner."""


async def until(condition: Callable[[], object]) -> None:
    """Wait until something in this process is so.

    Raises:
        TimeoutError: It has not become so in time.
    """
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # it has no event to wait for
            await asyncio.sleep(0.005)


async def until_found(look: Callable[[], Awaitable[object]]) -> None:
    """Wait until what another process is asked for is there.

    Raises:
        TimeoutError: It has not come in time.
    """
    async with asyncio.timeout(PATIENCE_S):
        while not await look():  # noqa: ASYNC110  # another process does not say when
            await asyncio.sleep(0.05)


def turns() -> Iterator[None]:
    """Turns of a wait for what another process will do, where no event loop runs.

    Raises:
        TimeoutError: It has not come in time.
    """
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        yield
        time.sleep(0.02)
    raise TimeoutError
