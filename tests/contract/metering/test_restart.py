"""What a new epoch of a node learns of its earlier ones."""

from dataclasses import replace

from metering_service.storage import SqlRecorder
from tests.harness.metering.records import NODE, UID, batch, lease, open_request, settled_request


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


async def test_what_is_to_be_looked_at_again_is_known_until_it_was(recorder: SqlRecorder) -> None:
    """By which epoch of which node; a later epoch does, or the same one."""
    first, second, third = ("chat", "r1", "p1"), ("chat", "r1", "p2"), ("chat", "r2", "p1")
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, replace(batch(1), rechecks=(third, second)))
    await recorder.commit(NODE, epoch, replace(batch(2), rechecks=(third, first), rechecked=((epoch, second),)))
    other = await recorder.register_node("node-2")
    await recorder.commit("node-2", other, replace(batch(1), rechecks=(first,)))
    assert await recorder.open_rechecks(NODE, epoch) == []

    new = await recorder.register_node(NODE)
    assert await recorder.open_rechecks(NODE, new) == [(epoch, first), (epoch, third)]
    await recorder.commit(NODE, new, replace(batch(1), rechecks=(first,), rechecked=((epoch, first), (epoch, third))))
    assert await recorder.open_rechecks(NODE, new) == []
    assert await recorder.open_rechecks(NODE, new + 1) == [(new, first)]
    assert await recorder.open_rechecks("node-2", other + 1) == [(other, first)]


async def test_a_node_that_was_to_look_again_is_not_settled(recorder: SqlRecorder) -> None:
    """It may have left for good."""
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, replace(batch(1), rechecks=(("chat", "r1", "p1"),)))
    assert [each.node for each in await recorder.unsettled_nodes("node-2")] == [NODE]
    await recorder.commit(NODE, epoch, replace(batch(2), rechecked=((epoch, ("chat", "r1", "p1")),)))
    assert await recorder.unsettled_nodes("node-2") == []


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
