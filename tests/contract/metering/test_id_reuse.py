"""Which ids have finished before, for many at once."""

from metering_service.storage import SqlRecorder
from metering_service.usecases.ports import RequestName
from tests.harness.metering.memory_recorder import MemoryRecorder
from tests.harness.metering.records import NODE, SERVICE, batch, open_request, settled_request

OTHER = "accounts/acme/services/other"


async def test_first_settlements_are_found_by_name(recorder: SqlRecorder) -> None:
    """The first of several, of this service alone; what runs, or goes on from another part, counts for nothing."""
    epoch = await recorder.register_node(NODE)
    records = [
        settled_request("twice", part="p1", booked_us=20),
        settled_request("twice", part="p2", booked_us=10),
        settled_request("moved", part="p2", booked_us=10, predecessor_part="p1"),
        open_request("moved", part="p1"),
        open_request("runs"),
        settled_request("there", booked_us=30, service=OTHER),
        settled_request('odd "\u00e9, ', booked_us=40),
    ]
    await recorder.commit(NODE, epoch, batch(1, *records))
    memory = MemoryRecorder()
    await memory.register_node(NODE)
    await memory.commit(NODE, 1, batch(1, *records))
    names = [RequestName(SERVICE, name) for name in ("twice", "moved", "runs", "there", 'odd "\u00e9, ', "unknown")]
    names += [RequestName(OTHER, "there"), *(RequestName(SERVICE, f"n{number}") for number in range(400))]
    expected = {names[0]: 10, names[4]: 40, RequestName(OTHER, "there"): 30}
    assert await recorder.first_booked_us(names) == expected
    assert await memory.first_booked_us(names) == expected
    assert await recorder.first_booked_us([]) == {}
    found = await recorder.find_requests(names)
    assert found == await memory.find_requests(names)
    assert [record.part for record in found[names[0]]] == ["p1", "p2"]
    assert {name for name, parts in found.items() if len(parts) == 1} == {
        names[2],
        names[4],
        RequestName(OTHER, "there"),
    }
    assert await recorder.find_requests([]) == {}
