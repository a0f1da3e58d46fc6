"""Records of a service's requests, page by page."""

from metering_service.storage import SqlRecorder, SqlUsageReader
from metering_service.usecases.ports import Settled
from tests.harness.metering.records import NODE, SERVICE, batch, open_request, settled_request, shown

KEYS = [("B", ""), ("a", "1"), ("a", "2"), ("a-b", ""), ("ab", ""), ("é", "x")]
"""In order of their code points, which is not that of any language."""


async def test_pages_follow_one_another_without_gaps(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """Whatever the size of the pages, each record comes once, in order of id and part."""
    epoch = await recorder.register_node(NODE)
    records = [settled_request(request_id, part=part) for request_id, part in KEYS]
    await recorder.commit(NODE, epoch, batch(1, *reversed(records)))
    for size in range(1, len(KEYS) + 2):
        seen: list[tuple[str, str]] = []
        while page := await reader.list_requests(SERVICE, seen[-1] if seen else None, size):
            assert len(page) <= size
            seen += [(record.request_id, record.part) for record in page]
        assert seen == KEYS


async def test_running_requests_are_listed_too(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """A request is there from its first checkpoint."""
    epoch = await recorder.register_node(NODE)
    running = open_request("r1")
    await recorder.commit(NODE, epoch, batch(1, running, settled_request("r2", service="accounts/b/services/c")))
    assert list(await reader.list_requests(SERVICE, None, 10)) == [shown(running)]
    assert await reader.request_parts(SERVICE, "r1") == [shown(running)]


async def test_records_are_found_by_when_they_were_settled(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """From the start, closed, to the end, open: spans that follow each other have each record once."""
    epoch = await recorder.register_node(NODE)
    settled = [settled_request(f"r{at_us}")._replace(booked_us=at_us) for at_us in (10, 20, 30)]
    await recorder.commit(NODE, epoch, batch(1, open_request("running"), *settled))

    async def found(start_us: int | None, end_us: int | None) -> list[str]:
        span = Settled(start_us, end_us)
        return [one.request_id for one in await reader.list_requests(SERVICE, None, 10, settled=span)]

    assert await found(10, 20) == ["r10"]
    assert await found(20, None) == ["r20", "r30"]
    assert await found(None, 30) == ["r10", "r20"]
    assert await found(31, None) == []
