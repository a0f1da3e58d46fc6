"""The database in memory, which tests of the rules use, does what the real one does."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering_service.domain.errors import NodeFencedError, RevisedElsewhereError
from metering_service.domain.records import CommitBatch, LeaseRecord, RequestRecord, RequestState
from metering_service.storage import SqlRecorder, SqlUsageReader
from metering_service.usecases.ports import Recorder
from tests.harness.metering.memory_recorder import MemoryRecorder
from tests.harness.metering.records import (
    batch,
    denial,
    lease,
    open_request,
    rows,
    settled_request,
    usage,
)

NUMBERS = itertools.count()
NODES = ("a", "b")
few = st.integers(0, 2)
places = {
    "key": few,
    "part": few,
    "output": st.integers(0, 9),
    "start_us": few,
    "before": st.sampled_from([None, "p0", "p1"]),
    "team": st.sampled_from(["", "red"]),
}


def opened(key: int, part: int, before: str | None, **more: Any) -> RequestRecord:
    return open_request(f"r{key}", part=f"p{part}", predecessor_part=before, base_output_tokens=5, **more)


def ended(key: int, part: int, before: str | None, state: RequestState, **more: Any) -> RequestRecord:
    name = f"r{key}"
    return settled_request(name, part=f"p{part}", predecessor_part=before, base_output_tokens=5, state=state, **more)


requests = st.one_of(
    st.builds(opened, **places),
    st.builds(ended, state=st.sampled_from([RequestState.FINISHED, RequestState.TIMED_OUT]), **places),
)
leases = st.builds(lambda key, consumed, closed: lease(f"l{key}", consumed, closed=closed), few, few, st.booleans())
teams = st.sampled_from(["", "red", "blue"])
others = st.one_of(
    st.builds(usage, few, st.integers(0, 9), team=teams), st.builds(denial, few, st.integers(0, 9), team=teams)
)
parts = st.lists(st.one_of(requests, leases, others), max_size=6)
registrations = st.tuples(st.just("register"), st.sampled_from(NODES))
commits = st.tuples(st.just("commit"), st.sampled_from(NODES), st.integers(0, 2), st.integers(0, 3), parts)
histories = st.lists(st.one_of(registrations, commits), max_size=12)


def own(number: int, node: str, sent: CommitBatch) -> CommitBatch:
    """A batch in the names of this example, each request and lease once, as group commits have them."""
    service, uid = f"accounts/acme/services/s{number}", f"uid-{number}"
    made: list[RequestRecord | LeaseRecord] = [
        record._replace(service=service, service_uid=uid, node=f"{node}-{number}") for record in sent.requests
    ]
    made += [
        replace(
            record, service=service, service_uid=uid, node=f"{node}-{number}", lease_id=f"{number}-{record.lease_id}"
        )
        for record in sent.leases
    ]
    unique = {(type(one), getattr(one, "request_id", ""), getattr(one, "part", one)): one for one in made}
    cells = {key._replace(service=service, service_uid=uid): delta for key, delta in sent.aggregates}
    denials = {key._replace(service=service, service_uid=uid): count for key, count in sent.denials}
    return batch(sent.commit_no, *unique.values(), *cells.items(), *denials.items())


async def commit(recorder: Recorder, node: str, epoch: int, sent: CommitBatch) -> bool:
    try:
        await recorder.commit(node, epoch, sent)
    except NodeFencedError:
        return False
    return True


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories)
async def test_memory_and_disk_agree(
    recorder: SqlRecorder, reader: SqlUsageReader, history: list[tuple[object, ...]]
) -> None:
    """Whatever is committed, by whichever epoch, in whichever order: the same is refused, and the same is there."""
    number, memory = next(NUMBERS), MemoryRecorder()
    for step in history:
        node = f"{step[1]}-{number}"
        if step[0] == "register":
            assert await memory.register_node(node) == await recorder.register_node(node)
            continue
        _, name, epoch, commit_no, told = step
        assert isinstance(name, str)
        assert isinstance(epoch, int)
        assert isinstance(commit_no, int)
        assert isinstance(told, list)
        sent = own(number, name, batch(commit_no, *told))
        assert await commit(memory, node, epoch, sent) == await commit(recorder, node, epoch, sent)
    for name, below in itertools.product(NODES, (1, 2, 9)):
        node = f"{name}-{number}"
        assert await memory.open_requests(node, below) == await recorder.open_requests(node, below)
        assert await memory.open_rechecks(node, below) == await recorder.open_rechecks(node, below)
        assert await memory.open_leases(node, below) == await recorder.open_leases(node, below)
    for key in range(3):
        found = await memory.find_request(f"uid-{number}", f"r{key}")
        assert found == await recorder.find_request(f"uid-{number}", f"r{key}")
    by_minute = await rows(reader, step=1, services=(f"accounts/acme/services/s{number}",), group_by=("team",))
    found_cells = {(row.start_us, row.group[0][1]): row for row in by_minute}
    for cell, delta in memory.aggregates.items():
        assert found_cells[cell.minute_us, cell.team].totals.usage.output == delta.usage.output
    for denied, count in memory.denials.items():
        assert found_cells[denied.minute_us, denied.team].denials == ((denied.reason, count),)


async def test_a_revision_of_nothing_is_refused_with_the_same_words(recorder: SqlRecorder) -> None:
    """Its record was deleted meanwhile, or the database is an older copy."""
    revised = replace(batch(1, settled_request("r1")), revised=((("accounts/acme/services/chat", "r1", "p1"), 1),))
    both: tuple[Recorder, ...] = (recorder, MemoryRecorder())
    for each in both:
        epoch = await each.register_node(NODES[0])
        with pytest.raises(
            RevisedElsewhereError, match="r1 of accounts/acme/services/chat is no longer on record, not 1:"
        ):
            await each.commit(NODES[0], epoch, revised)
