"""Records that the benchmark of exports writes by SQL: read back they are those of requests, and the books agree."""

from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.populate_metering import SPAN_US, multiply_requests, tokens_of
from metering_service.domain.counts import Counts
from metering_service.domain.receipt import Receipt
from metering_service.storage import SqlRecorder, SqlUsageReader
from metering_service.usecases.ports import Settled
from tests.harness.metering.records import MINUTE_US, NODE, NOON_US, batch, rows, settled_request

NAMES = ("accounts/acme/services/s1", "accounts/acme/services/s2")


async def test_records_and_sums_are_the_same(
    database: AsyncEngine, recorder: SqlRecorder, reader: SqlUsageReader
) -> None:
    """Each service has as many, all ids differ, and what the sums by minute say is what the records add up to."""
    counts = Counts(input=1, output=2)
    pattern = settled_request("only")._replace(counts=counts, receipt=Receipt(usage=counts, billed=counts))
    await recorder.commit(NODE, await recorder.register_node(NODE), batch(1, pattern))
    await multiply_requests(database.url.render_as_string(hide_password=False), "only", NAMES, 40, NOON_US)
    span = Settled(NOON_US, NOON_US + SPAN_US)
    found = [await reader.list_requests(name, None, 100, settled=span) for name in NAMES]
    assert [len(records) for records in found] == [20, 20]
    records = [record for its in found for record in its]
    assert len({record.request_id for record in records}) == 40
    assert all(record.receipt.usage == record.receipt.billed == record.counts for record in records)
    assert sum(record.counts.total for record in records) == sum(map(tokens_of, range(40)))
    sums = await rows(reader, end=SPAN_US // MINUTE_US, services=NAMES)
    assert sum(one.totals.request_count for one in sums) == 40
    assert sum(one.totals.usage.total for one in sums) == sum(record.counts.total for record in records)
    assert sum(one.totals.billed_tokens for one in sums) == sum(record.counts.total for record in records)
    assert sum(one.totals.cost_nanos for one in sums) == sum(record.receipt.cost_nanos for record in records)
