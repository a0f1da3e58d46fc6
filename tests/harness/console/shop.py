"""A running pair that asks for proof, the console in front of it, and tenants who shop there."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import grpc

from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tallygate.cli.bootstrap import OPERATOR_FILE
from tallygate.control.v1 import account_service_pb2 as accounts
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import TALLYGATE, Up, environment, up
from tests.harness.tenants.tenant import open_shop
from tests.harness.tenants.town import Town
from tests.harness.wire.relay import Relay, relaying

CENT_NANOS = 10_000_000


@dataclass(frozen=True, slots=True)
class ConsoleProgram:
    """A running console: where it is, and its process."""

    address: str
    pid: int


@contextmanager
def running_console(
    directory: Path, control: str, metering: str, *options: str, variables: Mapping[str, str] | None = None
) -> Iterator[ConsoleProgram]:
    """The console of a pair, on a free port. It has to end well, too."""
    arguments = ("--listen", "127.0.0.1:0", "--control", control, "--metering", metering, *options)
    log = directory / "console.log"
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            [*TALLYGATE, "console", *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**environment(), **(variables or {})},
        )
    assert process.stdout is not None
    with process.stdout:
        try:
            line = process.stdout.readline()
            assert line.startswith("serving "), log.read_text()
            yield ConsoleProgram(line.split()[1], process.pid)
            process.terminate()
            assert process.wait(PATIENCE_S) in {0, -signal.SIGTERM}, log.read_text()
        finally:
            process.kill()
            process.wait(PATIENCE_S)


class Way:
    """The way to a server by a relay, which a test may close and open again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, relay: Relay) -> None:
        self._loop, self._relay = loop, relay
        self.address = relay.address

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Nobody gets through, and whoever was through is cut off."""
        self._do(self._relay.leave)
        try:
            yield
        finally:
            self._do(self._relay.come_back)

    def _do(self, step: Callable[[], None]) -> None:
        """In the relay's own thread; it is done on return."""

        async def do() -> None:
            step()

        asyncio.run_coroutine_threadsafe(do(), self._loop).result(PATIENCE_S)


@contextmanager
def way_to(address: str) -> Iterator[Way]:
    """A relay in a thread of its own, which serves whatever the tests themselves wait for."""
    found: list[Way] = []
    ready, done = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with relaying(address) as relay:
            found.append(Way(asyncio.get_running_loop(), relay))
            ready.set()
            await done.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    ready.wait(PATIENCE_S)
    try:
        yield found[0]
    finally:
        found[0]._loop.call_soon_threadsafe(done.set)
        thread.join(PATIENCE_S)


@dataclass(frozen=True)
class Customer:
    """An account with its owner's token, and one for what meters it."""

    account_id: str
    owner: str = field(repr=False)
    meter: str = field(repr=False)

    @property
    def name(self) -> str:
        """The account's name."""
        return f"accounts/{self.account_id}"


@dataclass(eq=False)
class Shop:
    """The programs. `town`: both services as callers reach them; `control`: the way on which the console reaches it."""

    pair: Up
    town: Town
    home: str
    control: Way
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def new_id(self, kind: str) -> str:
        """An id that no other test has."""
        return f"{kind}-{next(self._numbers)}"

    def new_customer(self, *, cents: int = 1_000) -> Customer:
        """An account of its own, with some money."""
        account_id = self.new_id("shop")
        name = f"accounts/{account_id}"
        self.town.do(accounts.CreateAccountRequest(name=name, display_name=f"The {account_id} company"))
        if cents:
            self.town.do(accounts.TopUpAccountRequest(name=name, amount_nanos=cents * CENT_NANOS))
        owner, meter = (
            self.town.token_of(f"{name}/serviceAccounts/{role.name.lower()}", role, Scope(account_id))
            for role in (Role.OWNER, Role.METER)
        )
        return Customer(account_id, owner, meter)


@contextmanager
def open_for_business(directory: Path) -> Iterator[Shop]:
    """All programs, with a model that everybody sees."""
    with ExitStack() as stack:
        pair = stack.enter_context(up(directory / "data", "--auth"))
        way = stack.enter_context(way_to(pair.control))
        console = stack.enter_context(running_console(directory, way.address, pair.metering))
        control = stack.enter_context(grpc.insecure_channel(pair.control))
        node = stack.enter_context(grpc.insecure_channel(pair.metering))
        town = Town(control, node, (directory / "data" / OPERATOR_FILE).read_text().strip())
        open_shop(town)
        yield Shop(pair, town, console.address, way)
