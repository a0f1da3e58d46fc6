"""A group commit happens exactly once, and only for the epoch that may write."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.counts import Counts
from metering_service.domain.errors import NodeFencedError, RevisedElsewhereError
from metering_service.domain.records import CommitBatch, RequestState
from metering_service.storage import SqlPurgeStore, SqlRecorder, SqlUsageReader
from metering_service.usecases.ports import RequestName
from tests.harness.metering.pages import Pages
from tests.harness.metering.records import (
    NODE,
    SERVICE,
    UID,
    batch,
    denial,
    lease,
    open_request,
    rows,
    settled_request,
    shown,
    total_output,
    usage,
)


async def test_the_database_has_one_id(recorder: SqlRecorder, database: AsyncEngine) -> None:
    """It is made once, and every node that uses the database is told the same."""
    assert await recorder.database_id() == "id-1"
    assert await recorder.database_id() == "id-1"
    assert await SqlRecorder(database, lambda: "another").database_id() == "id-1"


async def test_nodes_that_start_together_agree_on_the_id(database: AsyncEngine) -> None:
    """Whoever is first makes the id; the others take it."""
    recorders = [SqlRecorder(database, lambda name=f"id-{n}": name) for n in range(4)]  # type: ignore[misc]
    assert len(set(await asyncio.gather(*(recorder.database_id() for recorder in recorders)))) == 1


async def test_each_registration_raises_the_epoch(recorder: SqlRecorder) -> None:
    """A node begins with epoch 1, and with one more each time it comes back; nodes do not share epochs."""
    assert [await recorder.register_node("a") for _ in range(3)] == [1, 2, 3]
    assert await recorder.register_node("b") == 1


async def test_a_batch_that_is_repeated_is_written_once(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """The same commit number again succeeds and adds nothing; the next one is written."""
    epoch = await recorder.register_node(NODE)
    first = batch(1, usage(0, output=5), denial(0, 3))
    for _ in range(3):
        await recorder.commit(NODE, epoch, first)
    await recorder.commit(NODE, epoch, batch(2, usage(0, output=7)))
    (row,) = await rows(reader)
    assert (row.totals.usage.output, row.totals.request_count, row.denials) == (12, 2, (("BUDGET_CONTENDED", 3),))


async def test_an_older_epoch_is_fenced(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """Once another epoch has registered, nothing of the older one is written, not even what it says again."""
    old = await recorder.register_node(NODE)
    await recorder.commit(NODE, old, batch(1, usage(0, output=5)))
    new = await recorder.register_node(NODE)
    for commit_no in (1, 2):
        with pytest.raises(NodeFencedError):
            await recorder.commit(NODE, old, batch(commit_no, usage(0, output=100)))
    await recorder.commit(NODE, new, batch(1, usage(0, output=7)))
    assert await total_output(reader) == 12


@pytest.mark.parametrize("commit_no", [0, 1, 4, 5])
async def test_a_commit_out_of_order_is_fenced(recorder: SqlRecorder, reader: SqlUsageReader, commit_no: int) -> None:
    """Neither a gap nor a number long past is this node's next or last commit; nothing is written."""
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, batch(1, usage(0, output=1)))
    await recorder.commit(NODE, epoch, batch(2, usage(0, output=1)))
    with pytest.raises(NodeFencedError):
        await recorder.commit(NODE, epoch, batch(commit_no, usage(0, output=100)))
    assert await total_output(reader) == 2


async def test_a_heartbeat_is_a_commit_like_any_other(recorder: SqlRecorder) -> None:
    """It counts once, is known when it is said again, and is fenced with its epoch."""
    old = await recorder.register_node(NODE)
    assert [await recorder.commit(NODE, old, CommitBatch(1, exchange_answered=7)) for _ in range(2)] == [set(), None]
    assert [mark.exchange_answered for mark in await recorder.history(NODE)] == [7]
    with pytest.raises(NodeFencedError):
        await recorder.commit(NODE, old, CommitBatch(3))
    new = await recorder.register_node(NODE)
    with pytest.raises(NodeFencedError):
        await recorder.commit(NODE, old, CommitBatch(2))
    assert await recorder.commit(NODE, new, CommitBatch(1)) == set()


async def test_a_node_that_never_registered_is_fenced(recorder: SqlRecorder) -> None:
    """Without an epoch there is nothing to write under."""
    with pytest.raises(NodeFencedError):
        await recorder.commit("stranger", 1, batch(1))


async def test_a_request_comes_back_as_it_was_written(recorder: SqlRecorder) -> None:
    """Open or settled, every field survives."""
    epoch = await recorder.register_node(NODE)
    running = open_request(
        "r1",
        predecessor_part="p0",
        base_input_tokens=3,
        base_output_tokens=5,
        hold_for_us=3_600_000_000,
        labels=(('a"]', "é\n"), ("team", "☃")),
        debt_allowed=False,
    )
    finished = settled_request("r2", part="", estimated=True, credential="", labels=())
    await recorder.commit(NODE, epoch, batch(1, running, finished))
    assert await recorder.find_request(UID, "r1") == [running]
    assert await recorder.find_request(UID, "r2") == [finished]
    assert await recorder.find_request("another uid", "r1") == []
    assert await recorder.find_request(UID, "r3") == []


async def test_a_request_is_replaced_as_a_whole(recorder: SqlRecorder) -> None:
    """A checkpoint gives way to the next one and to the settlement."""
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, batch(1, open_request("r1", output=1)))
    latest = open_request("r1", output=3)
    await recorder.commit(NODE, epoch, batch(2, latest))
    assert await recorder.find_request(UID, "r1") == [latest]
    settled = settled_request("r1")
    await recorder.commit(NODE, epoch, batch(3, settled))
    assert await recorder.find_request(UID, "r1") == [settled]


async def test_counts_replace_those_of_an_open_request_and_nothing_else(recorder: SqlRecorder) -> None:
    """Many at once; a settled one keeps its own, and so does one that has a place but no counts there yet."""
    epoch, pages = await recorder.register_node(NODE), Pages()
    running = [open_request(f"r{number}", output=1)._replace(place=pages.take()) for number in range(700)]
    settled = settled_request("settled")._replace(place=pages.take())
    await recorder.commit(NODE, epoch, batch(1, settled, *running))
    for number, record in enumerate([*running[:-1], settled]):
        assert record.place is not None
        pages.write(record.place, (1, 2, 3, number, 5))
    await recorder.commit(NODE, epoch, CommitBatch(2, counts=tuple(pages.take_changed())))
    for number in (0, 1, 63, 64, 511, 512, 698):
        expected = running[number]._replace(counts=Counts(1, 2, 3, number, 5))
        assert await recorder.find_request(UID, f"r{number}") == [expected]
        (found,) = (await recorder.find_requests([RequestName(SERVICE, f"r{number}")])).values()
        assert found == [expected]
    assert await recorder.find_request(UID, "r699") == [running[699]]
    assert await recorder.find_request(UID, "settled") == [settled]
    left = await recorder.open_requests(NODE, epoch + 1)
    assert sum(record.counts.output for record in left) == sum(range(699)) + 1


async def test_counts_are_not_taken_for_those_of_whoever_has_the_place_now(recorder: SqlRecorder) -> None:
    """A place is used again; the page still has what the one before left there."""
    epoch, pages = await recorder.register_node(NODE), Pages()
    first = open_request("r1", output=1)._replace(place=pages.take())
    assert first.place is not None
    pages.write(first.place, (1, 2, 3, 90, 5))
    await recorder.commit(NODE, epoch, replace(batch(1, first), counts=tuple(pages.take_changed())))
    pages.give_back(first.place)
    second = open_request("r2", output=7)._replace(place=pages.take())
    await recorder.commit(NODE, epoch, batch(2, settled_request("r1"), second))
    assert await recorder.find_request(UID, "r2") == [second]


async def test_pages_go_when_their_epoch_is_over_and_nothing_of_it_runs(
    recorder: SqlRecorder, database: AsyncEngine
) -> None:
    """While a request runs, or may begin to, its page stays."""
    purge_store = SqlPurgeStore(database)
    epoch, pages = await recorder.register_node(NODE), Pages()
    request = open_request("r1", output=1)._replace(place=pages.take())
    assert request.place is not None
    pages.write(request.place, (1, 2, 3, 90, 5))
    await recorder.commit(NODE, epoch, replace(batch(1, request), counts=tuple(pages.take_changed())))
    assert await purge_store.purge_counts() == 0
    next_epoch = await recorder.register_node(NODE)
    assert await purge_store.purge_counts() == 0
    assert (await recorder.open_requests(NODE, next_epoch))[0].counts.output == 90
    await recorder.commit(NODE, next_epoch, batch(1, settled_request("r1")))
    assert await purge_store.purge_counts() == 1
    assert await purge_store.purge_counts() == 0


async def test_a_checkpoint_never_takes_back_a_settlement(recorder: SqlRecorder) -> None:
    """What was booked stays booked, whatever comes late; a revision replaces it."""
    epoch = await recorder.register_node(NODE)
    settled = settled_request("r1")
    await recorder.commit(NODE, epoch, batch(1, settled))
    await recorder.commit(NODE, epoch, batch(2, open_request("r1", output=900)))
    assert await recorder.find_request(UID, "r1") == [settled]
    revised = settled_request("r1", output=900)
    await recorder.commit(NODE, epoch, batch(3, revised))
    assert await recorder.find_request(UID, "r1") == [revised]


async def test_parts_of_a_request_are_kept_apart(recorder: SqlRecorder) -> None:
    """A request that two nodes had a hand in has two parts, the first first."""
    epoch = await recorder.register_node(NODE)
    second = settled_request("r1", part="a", start_us=2_000_000, predecessor_part="b")
    first = settled_request("r1", part="b", start_us=1_000_000, state=RequestState.TIMED_OUT)
    await recorder.commit(NODE, epoch, batch(1, second, first))
    assert await recorder.find_request(UID, "r1") == [first, second]


async def test_nodes_that_write_the_same_cells_together_lose_nothing(
    recorder: SqlRecorder, reader: SqlUsageReader
) -> None:
    """Concurrent commits to the same minutes, named in different orders, all add up."""

    async def write(node: str, *, backwards: bool) -> None:
        epoch = await recorder.register_node(node)
        minutes = range(50, -1, -1) if backwards else range(51)
        for commit_no in range(1, 6):
            cells = [part for minute in minutes for part in (usage(minute, output=1), denial(minute, 1))]
            await recorder.commit(node, epoch, batch(commit_no, *cells))

    await asyncio.gather(*(write(f"node-{n}", backwards=n % 2 == 1) for n in range(4)))
    (row,) = await rows(reader)
    assert row.totals.usage.output == row.totals.request_count == 4 * 5 * 51
    assert row.denials == (("BUDGET_CONTENDED", 4 * 5 * 51),)


async def test_a_revision_may_take_tokens_of_a_kind_away(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """Deltas are signed: what was counted as input turns out to have been cached."""
    epoch = await recorder.register_node(NODE)
    key, delta = usage(0, output=5)
    await recorder.commit(NODE, epoch, batch(1, (key, delta)))
    _, less = usage(0, output=-2)
    less.request_count = 0
    await recorder.commit(NODE, epoch, batch(2, (key, less)))
    (row,) = await rows(reader)
    assert (row.totals.usage.output, row.totals.cost_nanos, row.totals.request_count) == (3, 3_000, 1)


async def test_a_services_records_are_listed_by_its_name(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """Requests of another service with the same ids stay with that service."""
    epoch = await recorder.register_node(NODE)
    other = settled_request("r1", service="accounts/acme/services/other", service_uid="uid-other")
    mine = settled_request("r1")
    await recorder.commit(NODE, epoch, batch(1, mine, other, lease("l1", 5)))
    assert await recorder.find_request("uid-other", "r1") == [other]
    assert await reader.request_parts(SERVICE, "r1") == [shown(mine)]


async def test_an_unauthorised_finish_is_kept_where_there_is_none(recorder: SqlRecorder) -> None:
    """Of two nodes with the same finish the first has it, and both are told. Said again, it is not known."""
    epochs = {node: await recorder.register_node(node) for node in (NODE, "node-2")}
    mine = [open_request(f"r{number}", part="") for number in (1, 2)]
    theirs = [open_request(f"r{number}", part="", output=99)._replace(node="node-2") for number in (2, 3)]
    first = CommitBatch(1, unauthorised=tuple(mine))
    assert await recorder.commit(NODE, epochs[NODE], first) == {(SERVICE, "r1"), (SERVICE, "r2")}
    assert await recorder.commit("node-2", epochs["node-2"], CommitBatch(1, unauthorised=tuple(theirs))) == {
        (SERVICE, "r3")
    }
    assert await recorder.commit(NODE, epochs[NODE], first) is None
    assert await recorder.find_request(UID, "r2") == [mine[1]]
    assert await recorder.find_request(UID, "r3") == [theirs[1]]
    assert await recorder.commit(NODE, epochs[NODE], CommitBatch(2)) == set()


async def test_a_node_remembers_which_leases_control_has_closed(recorder: SqlRecorder) -> None:
    """It never knows less than before, and the next epoch knows it, too."""
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, CommitBatch(1, closed_below_epoch=3))
    await recorder.commit(NODE, epoch, CommitBatch(2))
    await recorder.register_node(NODE)
    registration = await recorder.registration(NODE)
    assert registration is not None
    assert (registration.epoch, registration.closed_below_epoch) == (epoch + 1, 3)


async def test_of_two_nodes_that_revise_a_request_one_does(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """Both go on from the same revision: the later has nothing written, neither the record nor what it adds up to."""
    epochs = {node: await recorder.register_node(node) for node in (NODE, "node-2")}
    first = settled_request("r1")
    await recorder.commit(NODE, epochs[NODE], batch(1, first, usage(0, output=20)))
    key = (SERVICE, "r1", first.part)
    revision = first.receipt.revision

    def revised(node: str, commit_no: int, output: int) -> CommitBatch:
        record = settled_request("r1", output=output)
        receipt = record.receipt._replace(revision=revision + 1)
        record = record._replace(node=node, receipt=receipt)
        return replace(batch(commit_no, record, usage(0, output=output - 20)), revised=((key, revision),))

    mine = revised(NODE, 2, 30)
    await recorder.commit(NODE, epochs[NODE], mine)
    await recorder.commit(NODE, epochs[NODE], mine)
    with pytest.raises(RevisedElsewhereError, match="another node has revised it"):
        await recorder.commit("node-2", epochs["node-2"], revised("node-2", 1, 40))
    assert [record.counts.output for record in await recorder.find_request(UID, "r1")] == [30]
    assert sum(row.totals.usage.output for row in await rows(reader)) == 30
    await recorder.commit("node-2", epochs["node-2"], CommitBatch(1))
