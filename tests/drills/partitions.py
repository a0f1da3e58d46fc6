"""A fleet on five hosts: each link between two of them is cut and healed under load, so that nobody is told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from tests.drills.drills import DATABASES, Drilled, Load, make_databases, running, under_load
from tests.harness.patience import until_found
from tests.harness.programs.command import typed
from tests.harness.programs.health import listed
from tests.harness.programs.hosts import Network, move_to, network
from tests.harness.programs.postgres_cluster import postgres_servers
from tests.harness.programs.programs import Pair

HOSTS = ("client", "node-1", "node-2", "control", "database")


@dataclass(frozen=True, slots=True)
class Cut:
    """Links that are cut together, by the names of their hosts, and for how long."""

    links: Sequence[tuple[str, str]]
    seconds: int

    @property
    def name(self) -> str:
        """As the table has it."""
        return ", ".join(" - ".join(link) for link in self.links)


ONE_CONTROL = (("node-1", "control"),)
BOTH_CONTROL = (("node-1", "control"), ("node-2", "control"))
ONE_DATABASE = (("node-1", "database"),)
BOTH_DATABASE = (("node-1", "database"), ("node-2", "database"))
CONTROL_DATABASE = (("control", "database"),)
ONE_CLIENT = (("client", "node-1"),)
BOTH_CLIENT = (("client", "node-1"), ("client", "node-2"))
ALL_LINKS = (ONE_CONTROL, BOTH_CONTROL, ONE_DATABASE, BOTH_DATABASE, CONTROL_DATABASE, ONE_CLIENT)

SCHEDULE = (*(Cut(links, seconds) for links in ALL_LINKS for seconds in (5, 30)), Cut(BOTH_CLIENT, 5))
"""Cuts shorter and longer than leases hold. Clients give up where they reach nobody for long, so that one is short."""
SHORT_SCHEDULE = (Cut(ONE_CLIENT, 3),)


async def partitions(directory: Path, logs: Path, request_count: int) -> Drilled:
    """Each link, for longer than leases hold as well. This program moves to one of the hosts, and stays there."""
    return await cut_links(directory, logs, request_count, SCHEDULE)


async def short_partition(directory: Path, logs: Path, request_count: int) -> Drilled:
    """One link, for a moment, in seconds altogether."""
    return await cut_links(directory, logs, request_count, SHORT_SCHEDULE)


async def cut_links(directory: Path, logs: Path, request_count: int, schedule: Sequence[Cut]) -> Drilled:
    """The same for these cuts, one after the other."""
    # The load lasts twice as long as all cuts: a quarter of it is before them, and after each the fleet is whole again.
    rate = max(1, request_count // (2 * sum(cut.seconds for cut in schedule)))
    with network(*HOSTS) as net:
        hosts = dict(zip(HOSTS, net.hosts, strict=True))
        move_to(hosts["client"])
        async with postgres_servers(directory, host=hosts["database"]) as (server,):
            await server.begin()
            await make_databases(server.url())
            urls = [server.url(name) for name in DATABASES]
            felt: list[dict[str, Any]] = []

            async def cut_all(load: Load) -> None:
                felt.extend([await _cut(pair, net, cut, load) for cut in schedule])

            async with running(logs, *urls, hosts=hosts) as pair:
                drilled = await under_load(pair, request_count, cut_all, speed=1, requests_per_second=rate)
            databases = ("--control-database-url", urls[0], "--metering-database-url", urls[1])
            audit = await asyncio.to_thread(typed, "audit-books", *databases, "--json")
    return replace(drilled, cuts=felt, findings=audit.json["findings"])


async def _cut(pair: Pair, net: Network, cut: Cut, load: Load) -> dict[str, Any]:
    """Cuts, heals, and waits until the fleet is whole again; what was felt of it, as a row."""
    why = load.tally.gave_up or "name more --requests"
    assert not load.playing.done(), f"the load ended before all links were cut: {why}"
    hosts = dict(zip(HOSTS, net.hosts, strict=True))
    before, watch = load.tally.denials.copy(), ReceiptWatch(load)
    watching = asyncio.create_task(watch.run())
    for one, other in cut.links:
        net.cut(hosts[one], hosts[other])
    await asyncio.sleep(cut.seconds)
    for one, other in cut.links:
        net.heal(hosts[one], hosts[other])
    healed = time.monotonic()
    await until_found(partial(_are_ready, pair))
    whole_after_s = time.monotonic() - healed
    durable = load.tally.durable
    await load.until(lambda: load.tally.durable > durable)
    watching.cancel()
    return {
        "cut": cut.name,
        "for_seconds": cut.seconds,
        "refused": dict(load.tally.denials - before),
        "no_receipt_for_seconds": round(watch.longest_s, 1),
        "whole_after_seconds": round(whole_after_s, 1),
    }


async def _are_ready(pair: Pair) -> bool:
    try:
        return all([all((await listed(program)).values()) for program in pair.programs.values()])
    except grpc.aio.AioRpcError:
        return False


class ReceiptWatch:
    """Finds the longest time in which no finish became durable."""

    def __init__(self, load: Load) -> None:
        self._tally = load.tally
        self.longest_s = 0.0

    async def run(self) -> None:
        """Watches until cancelled."""
        durable, since = self._tally.durable, time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            self.longest_s = max(self.longest_s, time.monotonic() - since)
            if self._tally.durable > durable:
                durable, since = self._tally.durable, time.monotonic()
