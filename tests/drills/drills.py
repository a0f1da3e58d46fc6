"""A fleet under load whose database is taken away and given back, and its books afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tallygate.replay.outcome import Outcome
from tallygate.replay.run import ReplayPlan, replay
from tallygate.replay.synthetic import synthesize
from tallygate.replay.tally import Tally
from tests.harness.programs.command import typed
from tests.harness.programs.hosts import Host
from tests.harness.programs.patroni import Patroni, patroni_cluster
from tests.harness.programs.pgbouncer import PgBouncer, pgbouncer
from tests.harness.programs.postgres_cluster import PostgresServer, postgres_servers
from tests.harness.programs.programs import Pair

SERVICE = "accounts/acme/services/default-llama"
SERVER_COUNT = 8
"""Number of simulated inference servers."""
DATABASES = ("control", "metering")
NO_HOSTS: Mapping[str, Host] = {}


@dataclass(frozen=True, slots=True)
class Load:
    """A replay under way."""

    tally: Tally
    playing: asyncio.Task[Outcome]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it is so, or until the replay is over."""
        while not condition() and not self.playing.done():  # noqa: ASYNC110  # a tally has no event to wait for
            await asyncio.sleep(0.01)


Mishap = Callable[[Load], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Drilled:
    """The end of a drill: the books, and how long it took after the mishap until a receipt was durable again.

    `cuts`: what was felt of each cut of links. `findings`: of the audit of both databases, where it was made.
    """

    outcome: Outcome
    receipts_after_s: float
    cuts: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[object] = ()

    @property
    def is_well(self) -> bool:
        """Whether the books agree."""
        return self.outcome.reconciled and not self.findings

    def as_json(self) -> dict[str, Any]:
        """One object for programs."""
        found = {**self.outcome.as_json(), "receipts_after_seconds": round(self.receipts_after_s, 1)}
        found |= {"cuts": list(self.cuts)} if self.cuts else {}
        return found | ({"findings": list(self.findings)} if self.findings else {})


async def under_load(
    pair: Pair, request_count: int, mishap: Mishap, *, speed: int | None = None, requests_per_second: int = 100
) -> Drilled:
    """Replays so many requests on two nodes; once a quarter is done comes the mishap, which ends with a database."""
    await pair.start_control()
    for name in ("node-1", "node-2"):
        await pair.start_node(name)
    await asyncio.to_thread(_prepare, pair)
    plan = ReplayPlan(
        service=SERVICE,
        control=pair.control.address,
        metering=[pair.programs[node].address for node in ("node-1", "node-2")],
        run_id="drill-",
        servers=SERVER_COUNT,
        speed=speed,
        report_every=20,
    )
    trace, tally = synthesize(request_count, seed=5, requests_per_second=requests_per_second), Tally()
    load = Load(tally, asyncio.create_task(replay(trace, plan, tally, lambda _: None)))
    await load.until(lambda: tally.durable >= request_count // 4)
    await mishap(load)
    given_back, durable = time.monotonic(), tally.durable
    await load.until(lambda: tally.durable > durable)
    receipts_after_s = time.monotonic() - given_back
    return Drilled(await load.playing, receipts_after_s)


def _prepare(pair: Pair) -> None:
    """An account with money whose default service has pay-as-you-go."""
    for command in (
        ("model", "create", "llama"),
        ("model", "publish-price", "llama", "--input", "0.20", "--output", "0.60"),
        ("account", "create", "acme"),
        ("account", "top-up", "acme", "--amount", "1000"),
        ("service", "enable-postpaid", "acme/default-llama"),
    ):
        said = typed(*command, "--control", pair.control.address)
        assert said.status == 0, said.err


async def make_databases(url: str) -> None:
    """One for each service."""
    connection = await asyncpg.connect(url)
    for name in DATABASES:
        await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()


@asynccontextmanager
async def running(
    directory: Path, control_url: str, metering_url: str, *, hosts: Mapping[str, Host] = NO_HOSTS
) -> AsyncIterator[Pair]:
    """Programs on these databases, which are stopped as operators do it, or killed where something failed."""
    pair = Pair(directory, control_url, metering_url, hosts=hosts)
    try:
        yield pair
        await pair.stop()
    finally:
        await pair.kill()


async def fail_over(directory: Path, logs: Path, request_count: int, *, speed: int | None = None) -> Drilled:
    """The leader is killed, and its synchronous stand-by takes over; each URL names both."""
    async with postgres_servers(directory, 2) as (leader, stand_by):
        await leader.begin()
        await make_databases(leader.url())
        await stand_by.follow(leader)
        urls = [f"postgresql://postgres@{leader.place},{stand_by.place}/{name}" for name in DATABASES]

        async def mishap(_load: Load) -> None:
            await leader.kill()
            await stand_by.promote()

        async with running(logs, *urls) as pair:
            return await under_load(pair, request_count, mishap, speed=speed)


async def pooler_restart(directory: Path, logs: Path, request_count: int, *, speed: int | None = None) -> Drilled:
    """PgBouncer in transaction mode, before both databases, is killed and started again."""
    async with postgres_servers(directory) as servers, _pooler(servers[0], logs) as pooler:

        async def mishap(_load: Load) -> None:
            await pooler.kill()
            await pooler.start()

        async with running(logs, *map(pooler.url, DATABASES)) as pair:
            return await under_load(pair, request_count, mishap, speed=speed)


@asynccontextmanager
async def _pooler(server: PostgresServer, directory: Path) -> AsyncIterator[PgBouncer]:
    await server.begin()
    await make_databases(server.url())
    async with pgbouncer(server.url(), "transaction", directory) as pooler:
        yield pooler


async def patroni_switch_over(directory: Path, logs: Path, request_count: int) -> Drilled:
    """Patroni makes the stand-by the leader, because an operator says so."""
    async with patroni_cluster(directory) as cluster:
        leader = await cluster.leader()

        async def mishap(_load: Load) -> None:
            await cluster.switch_over(leader)
            await cluster.next_leader(leader)

        return await _over_patroni(cluster, logs, request_count, mishap)


async def patroni_kill(directory: Path, logs: Path, request_count: int) -> Drilled:
    """The leader and its Patroni are killed; the other one leads once it has heard nothing for long enough."""
    async with patroni_cluster(directory) as cluster:
        leader = await cluster.leader()

        async def mishap(_load: Load) -> None:
            await leader.kill()
            await cluster.next_leader(leader)

        return await _over_patroni(cluster, logs, request_count, mishap)


async def _over_patroni(cluster: Patroni, logs: Path, request_count: int, mishap: Mishap) -> Drilled:
    await make_databases(f"postgresql://postgres@{(await cluster.leader()).place}/postgres")
    async with running(logs, *map(cluster.url, DATABASES)) as pair:
        return await under_load(pair, request_count, mishap)
