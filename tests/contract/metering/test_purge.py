"""What is old is deleted, and nothing else; whoever deletes, and however many do."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.key_ring import ResumeKey
from metering_service.domain.records import LeaseRecord, RequestRecord
from metering_service.storage import SqlPurgeStore, SqlRecorder, SqlRecoveryStore, SqlUsageReader
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.upkeep import retention as purging
from metering_service.usecases.upkeep.retention import MARGIN_US, Purge
from tallygate._server.clock import ManualClock
from tests.harness.metering.records import (
    NODE,
    NOON_US,
    SERVICE,
    batch,
    lease,
    open_request,
    settled_request,
    total_output,
    usage,
)

KEPT_US = NodeSettings().id_retention_us + MARGIN_US
OLD_US = NOON_US - 1
"""One moment too old, at noon and as long as ids are kept after it."""


@pytest.fixture
def clock() -> ManualClock:
    """Noon, and as long as ids are kept."""
    return ManualClock(NOON_US + KEPT_US)


@pytest.fixture
def purge(database: AsyncEngine, clock: ManualClock) -> Purge:
    """What one node does."""
    return Purge(SqlPurgeStore(database), clock, NodeSettings())


def settled(request_id: str, part: str = "p1", *, booked_us: int = OLD_US, service: str = SERVICE) -> RequestRecord:
    return settled_request(request_id, part=part, start_us=booked_us - 1_000, booked_us=booked_us, service=service)


async def write(recorder: SqlRecorder, *parts: object) -> None:
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, batch(1, *parts))


async def run(purge: Purge) -> None:
    while await purge.step():
        pass


async def left(reader: SqlUsageReader) -> list[tuple[str, str]]:
    return [(record.request_id, record.part) for record in await reader.list_requests(SERVICE, None, 10_000)]


async def leases_left(database: AsyncEngine, recorder: SqlRecorder) -> Sequence[LeaseRecord]:
    return await SqlRecoveryStore(database, recorder).lease_totals("", 10_000)


async def test_settled_requests_are_deleted_when_they_are_old(
    recorder: SqlRecorder, reader: SqlUsageReader, purge: Purge, clock: ManualClock
) -> None:
    """By the time they were settled at, to the microsecond; what runs stays, however long ago it began."""
    running = open_request("running", start_us=OLD_US - KEPT_US)
    await write(recorder, settled("old"), settled("new", booked_us=NOON_US), running)
    await run(purge)
    assert await left(reader) == [("new", "p1"), ("running", "p1")]
    assert await reader.request_parts(SERVICE, "old") == []
    clock.advance(us=1)
    await run(purge)
    assert await left(reader) == [("running", "p1")]


async def test_records_may_be_kept_for_longer_than_ids(
    database: AsyncEngine, recorder: SqlRecorder, reader: SqlUsageReader, clock: ManualClock
) -> None:
    """So that a month that is disputed can be proved; never for less, since ids are known by their records."""
    day_us = 86_400 * 1_000_000
    await write(recorder, settled("r1"), lease("l1", 1, closed=True, close_us=OLD_US))
    clock.advance(us=23 * day_us - 1)
    await run(Purge(SqlPurgeStore(database), clock, NodeSettings(), records_kept_us=30 * day_us))
    assert await left(reader) == [("r1", "p1")]
    assert await leases_left(database, recorder) == []
    clock.advance(us=1)
    await run(Purge(SqlPurgeStore(database), clock, NodeSettings(), records_kept_us=30 * day_us))
    assert await left(reader) == []
    await recorder.commit(NODE, 1, batch(2, settled("r2", booked_us=NOON_US)))
    await run(Purge(SqlPurgeStore(database), ManualClock(NOON_US + KEPT_US), NodeSettings(), records_kept_us=day_us))
    assert await left(reader) == [("r2", "p1")]


@pytest.mark.parametrize("young", [settled("r1", "p2", booked_us=NOON_US), open_request("r1", part="p2")])
async def test_all_parts_of_a_request_stay_as_long_as_one_is_young(
    recorder: SqlRecorder, reader: SqlUsageReader, purge: Purge, young: RequestRecord
) -> None:
    """How far a part got is told by those that go on from it."""
    await write(recorder, settled("r1"), settled("r2"), settled("r2", "p2"), young)
    await run(purge)
    assert await left(reader) == [("r1", "p1"), ("r1", "p2")]


async def test_the_same_id_of_another_service_is_another_request(
    recorder: SqlRecorder, reader: SqlUsageReader, purge: Purge
) -> None:
    """One is old, the other runs."""
    await write(recorder, settled("r1", service="accounts/acme/services/other"), open_request("r1"))
    await run(purge)
    assert await left(reader) == [("r1", "p1")]
    assert await reader.request_parts("accounts/acme/services/other", "r1") == []


async def test_statistics_stay(recorder: SqlRecorder, reader: SqlUsageReader, purge: Purge) -> None:
    """Minutes are what is left of requests."""
    await write(recorder, settled("r1"), usage(0, 20))
    await run(purge)
    assert await left(reader) == []
    assert await total_output(reader) == 20


async def test_closed_leases_are_deleted_when_they_are_old(
    database: AsyncEngine, recorder: SqlRecorder, purge: Purge
) -> None:
    """Since they were closed first; what is open stays for the recovery that may need it."""
    await write(
        recorder,
        lease("old", 1, closed=True, close_us=OLD_US),
        lease("new", 2, closed=True, close_us=NOON_US),
        lease("open", 3),
    )
    await recorder.commit(NODE, 1, batch(2, lease("old", 1, closed=True, close_us=NOON_US)))
    await run(purge)
    assert [record.lease_id for record in await leases_left(database, recorder)] == ["new", "open"]


async def test_much_is_deleted_in_small_parts(
    database: AsyncEngine,
    recorder: SqlRecorder,
    reader: SqlUsageReader,
    purge: Purge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step has a bound, and the walk goes on where the last one ended, by several nodes at once."""
    monkeypatch.setattr("metering_service.storage.purge.ROWS", 20)
    monkeypatch.setattr("metering_service.storage.purge.PAGES", 1)
    monkeypatch.setattr(purging, "PART", 7)
    requests = [settled(f"r{number:03}") for number in range(200)]
    leases = [lease(f"l{number}", 1, closed=True, close_us=OLD_US) for number in range(50)]
    await write(recorder, *requests, *leases, open_request("running"))
    before = len(await left(reader))
    # Pages that other tests have emptied may come first.
    while len(await left(reader)) == before:
        assert await purge.step()
    assert before // 2 < len(await left(reader)) < before
    other = Purge(SqlPurgeStore(database), ManualClock(NOON_US + KEPT_US), NodeSettings())
    await asyncio.gather(run(purge), run(other))
    assert await left(reader) == [("running", "p1")]
    assert await leases_left(database, recorder) == []


async def test_a_clock_that_jumps_ahead_makes_nothing_old(
    database: AsyncEngine, recorder: SqlRecorder, reader: SqlUsageReader
) -> None:
    """What is deleted is gone for good, so a wall clock alone decides nothing."""

    class JumpedClock(ManualClock):
        ahead_us = 0

        def now_us(self) -> int:
            return super().now_us() + self.ahead_us

    clock = JumpedClock(NOON_US)
    await write(recorder, settled("r1"), lease("l1", 1, closed=True, close_us=OLD_US))
    purge = Purge(SqlPurgeStore(database), clock, NodeSettings())
    clock.ahead_us = 10 * KEPT_US
    await run(purge)
    assert await left(reader) == [("r1", "p1")]
    assert len(await leases_left(database, recorder)) == 1


async def test_keys_of_resume_tokens_are_kept_as_long_as_what_they_have_signed(
    purge: Purge, recorder: SqlRecorder, clock: ManualClock
) -> None:
    """A node may have signed with the first until the second was a day old; it goes when that is too long ago."""
    day_us = 86_400 * 1_000_000
    for number in range(1, 4):
        await recorder.add_resume_key(ResumeKey(number, NOON_US + (number - 3) * day_us, b"secret"))
    await run(purge)
    assert [key.number for key in await recorder.resume_keys()] == [1, 2, 3]
    clock.advance(us=1)
    await run(purge)
    assert [key.number for key in await recorder.resume_keys()] == [2, 3]
