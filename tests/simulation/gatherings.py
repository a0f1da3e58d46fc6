"""Seeds in which exchanges of leases come all at once, as they do of many nodes, so that several are in one group.

There groups fail now and then after their work and before their commit, as where a row cannot be read: then they are
halved, and served service by service in the end.
"""

import asyncio
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from control_service.domain.lease_round import LeaseRound, StatementWork
from control_service.domain.pot import Uncapped
from control_service.usecases.fleet.exchange_groups import ExchangeGroups, Served
from control_service.usecases.fleet.exchange_messages import ExchangeRequest

if TYPE_CHECKING:
    from tests.simulation.simulation_harness import World

SEEDS: Final = 3
"""In one of so many seeds they do."""

GATHERING_S: Final = 0.7
"""Time from one moment at which exchanges reach a replica to the next: less than a node waits for an answer."""

FAILS_ONE_IN: Final = 12
"""One of so many groups fails."""

IS_SPOILED: ContextVar[bool] = ContextVar("IS_SPOILED", default=False)
"""Whether transactions that are begun here fail before their commit."""


class Spoiled(Exception):  # noqa: N818  # what happened to it
    """A transaction fails, and the database is not to blame."""


def in_seed(seed: int) -> bool:
    """Whether exchanges come all at once in a seed."""
    return seed % SEEDS == 0


def gather(world: "World", groups: ExchangeGroups) -> None:
    """Counts the groups of a replica; in such seeds its exchanges gather before they are served."""
    groups.sizes = world.group_sizes
    _watch(world, groups)
    if not in_seed(world.seed):
        return
    _fail_now_and_then(world, groups)
    real, loop = groups.exchange, world.loop
    waiting: list[asyncio.Future[None]] = []

    def open_all() -> None:
        for one in waiting:
            if not one.done():
                one.set_result(None)
        waiting.clear()

    async def exchange(request: ExchangeRequest) -> Any:
        if not waiting:
            loop.call_later(GATHERING_S - loop.time() % GATHERING_S, open_all)
        turn: asyncio.Future[None] = loop.create_future()
        waiting.append(turn)
        await turn
        return await real(request)

    groups.exchange = exchange  # type: ignore[method-assign]  # of this replica


@contextmanager
def watched(world: "World") -> Iterator[None]:
    """Sees to it that no group is granted more of a pot than there was."""
    real = LeaseRound.run

    def run(self: LeaseRound, works: Iterable[StatementWork]) -> None:
        works = list(works)
        real(self, works)
        granted = {
            work.lease.pot for work in works if work.lease.granted_units > work.before.granted_units and not work.left
        }
        for key in granted:
            pot = self.pots[key]
            if pot.available_units < 0 and not isinstance(pot, Uncapped):
                world.wrongs.append(f"nodes were granted {-pot.available_units} units more of {key} than there were")

    with patch.object(LeaseRound, "run", run):
        yield


def _watch(world: "World", groups: ExchangeGroups) -> None:
    """Sees to it that no exchange is served whose epoch or number was over before its group began."""
    serve = groups._serve

    async def watched(requests: Sequence[ExchangeRequest]) -> Served:
        rows = world.control.rows("SELECT node, epoch, exchange_number FROM nodes")
        known = {row["node"]: (row["epoch"], row["exchange_number"]) for row in rows}
        restored = world.control.restored
        served = await serve(requests)
        for request, answers in zip(requests, served, strict=True):
            is_over = known.get(request.node, (0, 0)) >= (request.epoch, request.exchange_number)
            if is_over and isinstance(answers, list) and restored == world.control.restored:
                world.wrongs.append(f"exchange {request.exchange_number} of {request.node}.{request.epoch} was over")
        return served

    groups._serve = watched


def _fail_now_and_then(world: "World", groups: ExchangeGroups) -> None:
    """Lets groups fail, by luck of their own."""
    serve = groups._serve  # what it is given is not to be known by others
    luck = random.Random(f"{world.seed} groups")

    async def fail_now_and_then(requests: Sequence[ExchangeRequest]) -> Served:
        fails = luck.randrange(FAILS_ONE_IN) == 0 and not world.chance.calm
        if fails:
            world.chance.note("group fails")
        token = IS_SPOILED.set(fails)
        try:
            return await serve(requests)
        finally:
            IS_SPOILED.reset(token)

    groups._serve = fail_now_and_then
