"""The metering database can be sharded by service: keys have it, and so has every statement on the way of a report."""

from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.storage import SqlRecorder
from metering_service.storage.request_lookup import bookings_text
from metering_service.storage.schema import metadata
from metering_service.storage.statements import BulkStatement, CommitStatements
from metering_service.usecases.ports import RequestName
from tests.harness.control.query_plans import recorded
from tests.harness.metering.records import NODE, SERVICE, batch, open_request
from tests.harness.shards import across_shards, columns_of, without_column

COLUMNS = columns_of("metering")


def test_every_table_is_named_and_has_the_column_in_its_keys() -> None:
    """Citus refuses others."""
    assert COLUMNS.keys() == metadata.tables.keys()
    assert without_column(metadata, COLUMNS) == []


async def test_a_report_has_services_or_its_node_in_every_statement(
    database: AsyncEngine, recorder: SqlRecorder
) -> None:
    """When it is committed, and when its id is looked up; only pages of counts are of nodes, joined with requests."""
    epoch = await recorder.register_node(NODE)
    with recorded(database) as statements:
        await recorder.commit(NODE, epoch, batch(1, open_request("r1")))
        await recorder.find_requests([RequestName(SERVICE, "r1")])
    bulk = [one for one in vars(CommitStatements(database.dialect)).values() if isinstance(one, BulkStatement)]
    assert len(bulk) == 10
    texts = [statement for statement, _ in statements] + [one.from_arrays for one in bulk]
    texts.append(bookings_text(database.dialect))
    found = [one.partition(":")[0] for text in texts for one in across_shards(text, COLUMNS)]
    assert found == ["counts_pages"]
