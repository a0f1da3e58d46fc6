"""Epochs of nodes: what is remembered of them, and how all are fenced at once."""

from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.errors import NodeFencedError
from metering_service.domain.records import EpochMark
from metering_service.storage import SqlRecorder, SqlRecoveryStore
from metering_service.storage.epochs import KEPT
from tests.harness.metering.records import NODE, batch, lease, open_request


async def test_past_epochs_are_remembered_with_how_far_they_got(recorder: SqlRecorder) -> None:
    """The present one is the last; of other nodes there is the last exchange that was answered, whenever that was."""
    first = await recorder.register_node("a")
    await recorder.commit("a", first, replace(batch(1), exchange_answered=4))
    await recorder.commit("a", first, batch(2))
    await recorder.register_node("a")
    assert await recorder.history("a") == [EpochMark("a", 1, 2, 4), EpochMark("a", 2, 0, 0)]
    await recorder.register_node("b")
    assert await recorder.history("b") == [EpochMark("b", 1, 0, 0), EpochMark("a", 1, 0, 4)]


async def test_a_take_over_is_an_epoch_as_any_other(recorder: SqlRecorder) -> None:
    """The lost epoch's end is remembered as it was when it was fenced."""
    epoch = await recorder.register_node("a")
    await recorder.commit("a", epoch, batch(1))
    lost = await recorder.registration("a")
    assert lost is not None
    await recorder.commit("a", epoch, batch(2))
    assert await recorder.take_over(lost, "caretaker:b", idle=True) is None
    assert await recorder.take_over(lost, "caretaker:b", idle=False) == 2
    assert await recorder.history("a") == [EpochMark("a", 1, 2, 0), EpochMark("a", 2, 0, 0)]


async def test_only_the_last_epochs_are_kept(recorder: SqlRecorder) -> None:
    """A node that starts again and again does not fill the database."""
    for _ in range(KEPT + 5):
        await recorder.register_node("a")
    history = await recorder.history("a")
    assert (len(history), history[-1].epoch) == (KEPT, KEPT + 5)


async def test_a_fence_ends_every_epoch_those_that_only_control_knows_too(
    recorder: SqlRecorder, database: AsyncEngine
) -> None:
    """Nothing is written by them from then on, and no node begins an epoch that there was."""
    store = SqlRecoveryStore(database, recorder)
    epoch = await recorder.register_node("a")
    assert await store.fence({"a": 7, "gone": 3}, "caretaker:recovery") == {"a": 7, "gone": 3}
    with pytest.raises(NodeFencedError):
        await recorder.commit("a", epoch, batch(1))
    row = await recorder.registration("a")
    assert row is not None
    assert row.is_caretaken
    assert await recorder.register_node("a") == 9
    assert await recorder.register_node("gone") == 5


async def test_a_fence_that_closes_leases_says_so_to_the_epochs_that_follow(
    recorder: SqlRecorder, database: AsyncEngine
) -> None:
    """Leases of the epochs that it was told, and of those before; it never takes that back."""
    store = SqlRecoveryStore(database, recorder)
    await recorder.register_node("a")
    fenced = await store.fence({}, "caretaker:recovery")
    await recorder.register_node("a")
    await store.fence(fenced, "caretaker:recovery", closes_leases=True)
    epoch = await recorder.register_node("a")
    row = await recorder.registration("a")
    assert row is not None
    assert (fenced, row.closed_below_epoch, epoch) == ({"a": 1}, 2, 5)
    await store.fence({}, "caretaker:recovery", closes_leases=True)
    row = await recorder.registration("a")
    assert row is not None
    assert row.closed_below_epoch == 2


async def test_lease_totals_come_in_pages_and_unsettled_requests_are_counted(
    recorder: SqlRecorder, database: AsyncEngine
) -> None:
    """What runs in a present epoch is not left over."""
    store = SqlRecoveryStore(database, recorder)
    epoch = await recorder.register_node(NODE)
    leases = [lease(f"l{number}", number) for number in range(3)]
    await recorder.commit(NODE, epoch, batch(1, open_request("r1"), *leases))
    assert await store.unsettled_count() == 0
    assert [one.lease_id for one in await store.lease_totals("", 2)] == ["l0", "l1"]
    assert [one.consumed_units for one in await store.lease_totals("l1", 2)] == [2]
    await recorder.register_node(NODE)
    assert await store.unsettled_count() == 1


async def test_a_node_that_only_a_note_speaks_of_is_there_for_others_to_take_over(recorder: SqlRecorder) -> None:
    """A database that was put back to an older copy does not know it; its next epoch is above that of the note."""
    epoch = await recorder.register_node(NODE)
    notes = tuple(
        open_request(name, epoch=number)._replace(node="lost") for name, number in (("r1", 4), ("r2", 6), ("r3", 5))
    )
    await recorder.commit(NODE, epoch, replace(batch(1), notes=notes))
    (lost,) = await recorder.unsettled_nodes(NODE)
    assert (lost.node, lost.epoch) == ("lost", 6)
    assert await recorder.take_over(lost, "caretaker:b", idle=True) == 7
    assert len(await recorder.open_requests("lost", 7)) == 3
    again = open_request("r4", epoch=2)._replace(node="lost")
    await recorder.commit(NODE, epoch, replace(batch(2), notes=(again,)))
    row = await recorder.registration("lost")
    assert row is not None
    assert row.epoch == 7


async def test_a_fence_covers_all_nodes_that_have_requests_open(recorder: SqlRecorder, database: AsyncEngine) -> None:
    """Also those that nobody registered, or whose epochs are above the present one; until then they are unsettled."""
    store = SqlRecoveryStore(database, recorder)
    epoch = await recorder.register_node(NODE)
    left = (
        open_request("r1", epoch=epoch),
        open_request("r2", epoch=9)._replace(node="unregistered"),
        open_request("r3", epoch=5),
    )
    await recorder.commit(NODE, epoch, batch(1, *left))
    assert await store.unsettled_count() == 2
    assert await store.fence({}, "caretaker:recovery") == {NODE: 5, "unregistered": 9}
    assert await store.unsettled_count() == 3
    assert [row.epoch for row in await recorder.unsettled_nodes("")] == [6, 10]
