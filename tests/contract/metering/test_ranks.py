"""How counts rank is on record: a restart, or another node, takes up where they were."""

from dataclasses import replace

import pytest

from metering_service.domain.counts import Counts, Tally
from metering_service.domain.records import CommitBatch, RequestRecord
from metering_service.domain.request_parts import front_of
from metering_service.storage import SqlRecorder
from tests.harness.metering.pages import Pages
from tests.harness.metering.records import NODE, UID, batch, open_request, settled_request

EXACT = Tally.of(Counts(100, output=30), finish=True)
COUNTED = Tally.of(Counts(100, output=40), finish=False)
ESTIMATE = Tally.of(Counts(90, output=50), finish=False, estimated=True)


def with_tally(record: RequestRecord, tally: Tally) -> RequestRecord:
    return record._replace(counts=tally.counts, estimated=tally.estimated, ranks=tally.ranks)


@pytest.mark.parametrize(
    "tally",
    [
        EXACT,
        ESTIMATE,
        COUNTED.merge(ESTIMATE),
        front_of(EXACT, 50, 20),
        ESTIMATE.merge(Tally.of(Counts(95), finish=True, estimated=True)),
    ],
)
async def test_what_is_read_ranks_as_what_was_written(recorder: SqlRecorder, tally: Tally) -> None:
    """Of a request that runs, and of one that is settled."""
    epoch = await recorder.register_node(NODE)
    running, settled = with_tally(open_request("r1"), tally), with_tally(settled_request("r2"), tally)
    await recorder.commit(NODE, epoch, batch(1, running, settled))
    for request_id in ("r1", "r2"):
        (found,) = await recorder.find_request(UID, request_id)
        assert found.tally == tally


@pytest.mark.parametrize("estimated", [True, False])
async def test_without_ranks_it_is_as_one_report_said_it(recorder: SqlRecorder, *, estimated: bool) -> None:
    """Progress of what runs, a finish of what is finished: as of all that was recorded before ranks were."""
    epoch = await recorder.register_node(NODE)
    running = open_request("r1")._replace(estimated=estimated)
    settled = settled_request("r2", estimated=estimated)
    await recorder.commit(NODE, epoch, batch(1, running, settled))
    for record in (running, settled):
        (found,) = await recorder.find_request(UID, record.request_id)
        is_finish = record is settled
        assert found.tally == Tally.of(record.counts, finish=is_finish, estimated=estimated)
        assert found.tally.exact is (is_finish and not estimated)


async def test_counts_on_a_page_are_progress_unless_they_are_the_records_own(recorder: SqlRecorder) -> None:
    """Nothing else goes there alone; what the record says of its own counts still holds."""
    epoch, pages = await recorder.register_node(NODE), Pages()
    same, later = (
        with_tally(open_request(request_id), ESTIMATE)._replace(place=pages.take()) for request_id in ("r1", "r2")
    )
    more = Counts(95, output=60)
    for record, counts in ((same, ESTIMATE.counts), (later, more)):
        assert record.place is not None
        pages.write(record.place, counts)
    changed = tuple(pages.take_changed())
    await recorder.commit(NODE, epoch, replace(batch(1, same, later), counts=changed))
    await recorder.commit(NODE, epoch, CommitBatch(2))
    (found,) = await recorder.find_request(UID, "r1")
    assert (found.tally, found.estimated) == (ESTIMATE, True)
    (found,) = await recorder.find_request(UID, "r2")
    assert (found.tally, found.estimated) == (Tally.of(more, finish=False), False)
