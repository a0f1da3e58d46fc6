"""What a new epoch of a node learns of its earlier ones."""

from typing import Any

import pytest

from metering_service.domain.records import SettlementState
from metering_service.storage import SqlRecorder
from tests.contract.metering.samples import NODE, UID, batch, lease, open_request, settled_request


async def test_a_new_epoch_sees_what_was_left_open(recorder: SqlRecorder) -> None:
    """Open requests and leases of earlier epochs of this node alone, in order of their keys."""
    epoch = await recorder.register_node(NODE)
    left = [open_request("r1", part="b"), open_request("r1", part="a"), open_request("r2")]
    done = settled_request("r3")
    await recorder.commit(
        NODE, epoch, batch(1, *left, done, lease("l2", 7), lease("l1", 5), lease("l3", 9, closed=True))
    )
    other = await recorder.register_node("node-2")
    await recorder.commit("node-2", other, batch(1, open_request("r4", node="node-2")))

    new = await recorder.register_node(NODE)
    assert await recorder.open_requests(NODE, new) == [left[1], left[0], left[2]]
    assert await recorder.open_leases(NODE, new) == [lease("l1", 5), lease("l2", 7)]


@pytest.mark.parametrize(
    ("part", "later", "found"),
    [
        ({}, {}, True),
        ({}, {"output": 10}, False),
        ({}, {"output": 11}, True),
        ({}, {"base_output_tokens": 11}, False),
        ({}, {"base_output_tokens": 12}, True),
        ({}, {"state": SettlementState.OPEN}, False),
        ({}, {"state": SettlementState.TIMED_OUT}, True),
        ({}, {"predecessor_part": "another"}, False),
        ({}, {"request_id": "r2"}, False),
        ({"state": SettlementState.FINISHED}, {}, False),
        ({"epoch": 2}, {}, False),
    ],
)
async def test_a_new_epoch_finds_parts_that_timed_out_before_their_last_counts_were_known(
    recorder: SqlRecorder, part: dict[str, Any], later: dict[str, Any], found: bool
) -> None:
    """What another node had to say of them came in the same moment; only counts up to where it goes on are theirs."""
    epoch = await recorder.register_node(NODE)
    timed_out = settled_request("r1", **{"state": SettlementState.TIMED_OUT, "output": 10, **part})
    after: dict[str, Any] = {
        "request_id": "r1",
        "part": "p2",
        "predecessor_part": "p1",
        "base_input_tokens": 110,
        "base_output_tokens": 500,
        "node": "node-2",
        "output": 20,
        **later,
    }
    await recorder.commit(NODE, epoch, batch(1, timed_out))
    other = await recorder.register_node("node-2")
    await recorder.commit("node-2", other, batch(1, settled_request(**after)))
    assert await recorder.unfilled_requests(NODE, 2) == ([timed_out] if found else [])
    assert await recorder.unfilled_requests("node-2", 2) == []


async def test_what_the_epoch_itself_opened_is_not_left_over(recorder: SqlRecorder) -> None:
    """Only epochs below the one asked for."""
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, batch(1, open_request("r1"), lease("l1", 5)))
    assert await recorder.open_requests(NODE, epoch) == []
    assert await recorder.open_leases(NODE, epoch) == []


async def test_what_was_settled_is_no_longer_left_over(recorder: SqlRecorder) -> None:
    """The new epoch settles and closes; the next one finds nothing."""
    first = await recorder.register_node(NODE)
    await recorder.commit(NODE, first, batch(1, open_request("r1"), lease("l1", 5)))
    second = await recorder.register_node(NODE)
    await recorder.commit(NODE, second, batch(1, settled_request("r1", epoch=second), lease("l1", 8, closed=True)))
    third = await recorder.register_node(NODE)
    assert await recorder.open_requests(NODE, third) == []
    assert await recorder.open_leases(NODE, third) == []
    assert [record.epoch for record in await recorder.find_request(UID, "r1")] == [second]


async def test_consumption_only_grows(recorder: SqlRecorder) -> None:
    """A lease keeps the most that was ever said of it, and its first holder."""
    epoch = await recorder.register_node(NODE)
    for commit_no, consumed in enumerate((5, 9, 7), start=1):
        await recorder.commit(NODE, epoch, batch(commit_no, lease("l1", consumed, epoch=commit_no)))
    assert await recorder.open_leases(NODE, epoch + 1) == [lease("l1", 9, epoch=1)]


async def test_a_closed_lease_stays_closed(recorder: SqlRecorder) -> None:
    """Late consumption does not open it again."""
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, batch(1, lease("l1", 5, closed=True)))
    await recorder.commit(NODE, epoch, batch(2, lease("l1", 6)))
    assert await recorder.open_leases(NODE, epoch + 1) == []
