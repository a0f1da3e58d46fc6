"""What one node's stream has yet to send, however much it is."""

from collections.abc import Callable

from control_service.api.fleet_codec import encode_update
from control_service.domain.names import service_name
from control_service.domain.node import LostNode
from control_service.domain.payers import Resolution, ServiceConfig
from control_service.usecases.fleet.watcher import LOST_REPEAT_NS, Update, Watcher
from control_service.usecases.fleet_ports import Recall
from tallygate._server.grpc.message_size import ANSWER_BYTES_MAX

ACCOUNT = "a" * 63


async def updates_of(notify: Callable[[Watcher], None]) -> list[Update]:
    """All messages that are pending after the notifications."""
    watcher = Watcher("node-a", 1, 7)
    await watcher.next(0)
    notify(watcher)
    updates: list[Update] = []
    while True:
        update = await watcher.next(0)
        assert update is not None
        if not (update.services or update.recalled_lease_ids or update.replenished_service_uids):
            return updates
        updates.append(update)


def size(update: Update) -> int:
    return encode_update(update, 0, 0).ByteSize()


async def test_very_many_recalls_and_pots_come_in_several_messages() -> None:
    """Each id once, in order, and no message is too large; a message of many ids does not put off the version."""
    leases = [f"{number:032x}" + "x" * 96 for number in range(45_000)]
    uids = [f"{number:064x}" for number in range(35_000)]

    def notify(watcher: Watcher) -> None:
        watcher.recall([Recall("node-a", lease_id, 1) for lease_id in leases])
        watcher.replenish(uids)
        watcher.advance(8)

    updates = await updates_of(notify)
    assert [one for update in updates for one in update.recalled_lease_ids] == leases
    assert [one for update in updates for one in update.replenished_service_uids] == uids
    assert max(map(size, updates)) < ANSWER_BYTES_MAX
    assert updates[0].version == 8


async def test_very_many_services_come_in_several_messages() -> None:
    """A hundred thousand with the longest of names; only the last message carries the version."""
    names = [service_name(ACCOUNT, f"{number:0128}") for number in range(100_000)]

    def notify(watcher: Watcher) -> None:
        watcher.follow(names)
        for name in names:
            watcher.notify(ServiceConfig(name=name, resolution=Resolution.UNKNOWN, terms=None, version=8))
        watcher.advance(8)

    updates = await updates_of(notify)
    assert [config.name for update in updates for config in update.services] == names
    assert max(map(size, updates)) < ANSWER_BYTES_MAX
    assert [update.version for update in updates[-2:]] == [7, 8]


async def lost_of(watcher: Watcher) -> tuple[LostNode, ...]:
    """The nodes that are told as lost now."""
    update = await watcher.next(0)
    assert update is not None
    return update.lost_nodes


async def test_a_node_that_was_lost_before_the_stream_is_told_if_it_still_is() -> None:
    """Not where it comes back soon after: both were cut off from control. This node itself is never told as lost."""
    both, other = (LostNode("node-a", 1), LostNode("node-b", 4)), LostNode("node-b", 4)
    watcher = Watcher("node-a", 1, 7)
    watcher.report_lost(both, 1)
    assert await lost_of(watcher) == ()
    watcher.report_lost((), LOST_REPEAT_NS)
    assert await lost_of(watcher) == ()

    watcher = Watcher("node-a", 1, 7)
    watcher.report_lost(both, 1)
    watcher.report_lost((other,), LOST_REPEAT_NS + 1)
    assert await lost_of(watcher) == (other,)


async def test_a_node_that_is_lost_while_the_stream_is_open_is_told_at_once_and_again() -> None:
    """The stream began while all was well."""
    other = LostNode("node-b", 4)
    watcher = Watcher("node-a", 1, 7)
    watcher.report_lost((), 1)
    for now_ns, told in ((2, (other,)), (3, ()), (2 + LOST_REPEAT_NS, (other,))):
        watcher.report_lost((other,), now_ns)
        assert await lost_of(watcher) == told
