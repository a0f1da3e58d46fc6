"""Nodes, all at once, over a network that loses, repeats and delays: the books agree after every round."""

from collections.abc import AsyncIterator, Callable

import pytest

from control_service.storage.database import MIGRATIONS, SqlDatabase
from tallygate._server.clock import ManualClock
from tallygate._server.database.engine import create_engine
from tests.harness.control.fleet_harness import Kit
from tests.harness.control.storm_harness import Slice, Storm, StormyNode
from tests.simulation.chance import Chance
from tests.simulation.database import SimulatedDatabase
from tests.simulation.loop import Party, SimulatedLoop
from tests.simulation.ports import ControlDatabase, Disk

ORDERS = range(1, 13)


@pytest.fixture
async def replicas(kit: Kit, database_url: str) -> AsyncIterator[list[Kit]]:
    """Two of them, each with its own connections; they share a clock."""
    engine = create_engine(database_url)
    yield [kit, Kit(SqlDatabase(engine), kit.clock)]
    await engine.dispose()


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_books_agree_in_a_storm(replicas: list[Kit], seed: int) -> None:
    """Leased, spent, held and the ledger agree after every round; nothing is overspent; at rest all else is free."""
    storm = await Storm.brew(replicas, seed)
    await storm.rage(seed)


@pytest.mark.parametrize("seed", ORDERS)
def test_the_books_agree_in_whatever_order_replicas_reach_the_database(seed: int) -> None:
    """The seed also draws whose transaction comes next, so that a failure can be repeated."""
    _rage_in_order(seed)


def test_the_same_seed_is_the_same_storm() -> None:
    """To the last unit, on each lease."""
    assert _rage_in_order(7) == _rage_in_order(7) != _rage_in_order(8)


class _GoesOn(StormyNode):
    """Takes from a lease that it has given up, until it receives that control has closed it."""

    def work(self) -> None:
        for part in self.slices:
            self._use(part)


def test_a_node_that_goes_on_with_a_closing_lease_overspends() -> None:
    """Units that control lent to others are spent twice: a storm in three finds an overspend, or more."""
    assert sum(_overspends(seed) for seed in ORDERS) >= len(ORDERS) // 3


def _overspends(seed: int) -> bool:
    try:
        _rage_in_order(seed, _GoesOn)
    except AssertionError:
        return True
    return False


def _rage_in_order(seed: int, make_node: Callable[..., StormyNode] = StormyNode) -> list[Slice]:
    """A storm over two replicas on one thread and simulated time; all leases as nodes see them in the end."""
    loop, disk = SimulatedLoop(), Disk(Chance(seed))  # type: ignore[abstract]  # what nobody calls is not there
    shared = SimulatedDatabase(MIGRATIONS, lambda: None)
    clock = ManualClock()

    async def rage() -> list[Slice]:
        parties = (Party("control0"), Party("control1"))
        databases = [ControlDatabase(SqlDatabase(shared.engine), shared, disk, party) for party in parties]
        replicas = [Kit(database, clock) for database in databases]  # type: ignore[arg-type]  # of it they use no engine
        await replicas[0].model()
        storm = await Storm.brew(replicas, seed, make_node)
        await storm.rage(seed)
        return [part for node in storm.nodes for part in node.every]

    try:
        return loop.run_until_complete(rage())
    finally:
        loop.put_away()
        shared.close()
