"""Records of a service's requests, page by page."""

from metering_service.storage import SqlRecorder, SqlUsageReader
from tests.harness.metering.records import NODE, SERVICE, batch, open_request, settled_request

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
    assert list(await reader.list_requests(SERVICE, None, 10)) == [running]
    assert await reader.request_parts(SERVICE, "r1") == [running]
