"""What users of other systems suffered from alerts, by name: each is what they would have wanted to see instead."""

from collections import Counter

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.alert import AlertKind
from control_service.domain.pot import PotKind
from control_service.storage.database import MIGRATIONS, SqlDatabase
from tallygate._server.database.engine import migrate
from tests.harness.control.alerts import figures_of
from tests.harness.control.fleet_harness import FleetNode, Kit

TRIAL = PotKind.TRIAL


@pytest.fixture
async def kit(engine: AsyncEngine) -> Kit:
    await migrate(engine, MIGRATIONS, "control service")
    kit = Kit(SqlDatabase(engine))
    await kit.account(funds=1_000_000)
    await kit.model()
    return kit


async def percents(kit: Kit) -> list[int]:
    return await figures_of(kit.database, AlertKind.TRIAL_THRESHOLD, "threshold_percent")


async def test_an_alert_for_every_report_beyond_a_threshold(kit: Kit) -> None:
    """Once told, a threshold is told no more, however many statements follow, also of other nodes and epochs."""
    service = await kit.service(trial_tokens=1_000)
    nodes: list[FleetNode] = [await kit.node("node-a"), await kit.node("node-b")]
    for node in nodes:
        await node.exchange_one(service, TRIAL, needed_units=400)
    for consumed in range(0, 400, 10):
        for node in nodes:
            await node.exchange_one(service, TRIAL, consumed_units=consumed)
    again = await kit.node("node-a", epoch=2)
    await again.exchange_one(service, TRIAL, needed_units=100)
    for consumed in range(10, 100, 10):
        await again.exchange_one(service, TRIAL, consumed_units=consumed)
    assert Counter(await percents(kit)) == {80: 1}


async def test_all_thresholds_at_once(kit: Kit) -> None:
    """One late statement crosses every threshold: people are told of where it stands, and not of the way there."""
    service, node = await kit.service(trial_tokens=1_000), await kit.node()
    await node.exchange_one(service, TRIAL, needed_units=1_000)
    await node.exchange_one(service, TRIAL, consumed_units=1_000)
    assert await percents(kit) == [100]


async def test_an_alert_twice_because_a_statement_was_repeated(kit: Kit) -> None:
    """The answer to an exchange was lost, and the node states the same again."""
    service, node = await kit.service(trial_tokens=1_000), await kit.node()
    await node.exchange_one(service, TRIAL, needed_units=1_000)
    for _ in range(3):
        await node.exchange_one(service, TRIAL, consumed_units=850)
    assert await percents(kit) == [80]
