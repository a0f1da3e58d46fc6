"""Seeds in which exchanges of leases come all at once, as they do of many nodes, so that several are in one group."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from control_service.usecases.fleet.exchange_groups import ExchangeGroups
from control_service.usecases.fleet.exchange_messages import ExchangeRequest

if TYPE_CHECKING:
    from tests.simulation.simulation_harness import World

SEEDS: Final = 3
"""In one of so many seeds they do."""

GATHERING_S: Final = 0.7
"""Time from one moment at which exchanges reach a replica to the next: less than a node waits for an answer."""


def in_seed(seed: int) -> bool:
    """Whether exchanges come all at once in a seed."""
    return seed % SEEDS == 0


def gather(world: "World", groups: ExchangeGroups) -> None:
    """Counts the groups of a replica; in such seeds its exchanges gather before they are served."""
    groups.sizes = world.group_sizes
    if not in_seed(world.seed):
        return
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
