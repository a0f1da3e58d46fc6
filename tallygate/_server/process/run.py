"""A program's life: from its start to the signal that ends it."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

import uvloop

from tallygate._server.errors import StartupError, SupersededError

Main: TypeAlias = Callable[[asyncio.Event], Awaitable[None]]

EXIT_STARTUP_ERROR: Final = 2
EXIT_SUPERSEDED: Final = 3
"""Exit status that says: do not start this program again."""


def run(main: Main) -> None:
    """Run `main` until it returns; SIGINT and SIGTERM set the event that it is given.

    Raises:
        SystemExit: with code 2, after one line on stderr, when `main` raises a StartupError; 3 for a SupersededError.
    """
    with ends_program():
        uvloop.run(_until_stopped(main))


@contextmanager
def ends_program() -> Iterator[None]:
    """Ends the program where a StartupError is raised.

    Raises:
        SystemExit: as of `run`.
    """
    try:
        yield
    except StartupError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_SUPERSEDED if isinstance(error, SupersededError) else EXIT_STARTUP_ERROR)


def announce(address: str, mtls_address: str = "") -> None:
    """Tell whoever started the program where it serves; the only line that it writes to stdout."""
    print(f"serving {address}", *(["mtls", mtls_address] if mtls_address else []), flush=True)


async def _until_stopped(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await main(stop)
