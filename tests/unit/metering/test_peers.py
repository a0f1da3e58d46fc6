"""Fairness between peers: who has most gives way, and everybody has a turn."""

from hypothesis import given
from hypothesis import strategies as st

from metering_service.usecases.access.peers import ByPeer, InTurn

PEERS = st.sampled_from("abc")
ITEMS = st.integers(0, 9)
STEPS = st.lists(st.tuples(st.sampled_from(["add", "discard", "pop"]), PEERS, ITEMS), max_size=60)


@given(STEPS)
def test_the_longest_list_gives_its_oldest(steps: list[tuple[str, str, int]]) -> None:
    """Whatever was added and taken away before, as a search through all lists would have it."""
    by_peer, plain = ByPeer[tuple[str, int]](), dict[str, list[tuple[str, int]]]()
    for what, peer, number in steps:
        items, item = plain.setdefault(peer, []), (peer, number)
        if what == "pop" and by_peer.count:
            longest = max(len(items) for items in plain.values())
            popped = by_peer.pop_of_longest()
            assert len(plain[popped[0]]) == longest
            assert plain[popped[0]].pop(0) == popped
        elif what != "pop":
            if item in items:
                items.remove(item)
            if what == "add":
                items.append(item)
                by_peer.add(peer, item)
            else:
                by_peer.discard(peer, item)
        assert by_peer.count == sum(len(items) for items in plain.values())


@given(st.lists(st.tuples(PEERS, st.integers(0, 50)), unique=True), st.data())
def test_everybody_has_a_turn(items: list[tuple[str, int]], data: st.DataObject) -> None:
    """Between two of one peer comes one of each other that waits; of one peer, the oldest comes first."""
    queue = InTurn[tuple[str, int]]()
    for item in items:
        queue.add(item[0], item)
    gone = data.draw(st.sets(st.sampled_from(items))) if items else set()
    for item in gone:
        queue.discard(item[0], item)
    left = {peer: [item for item in items if item[0] == peer and item not in gone] for peer in "abc"}
    while queue:
        waiting = {peer for peer, its in left.items() if its}
        taken = {queue.pop() for _ in waiting}
        assert taken == {left[peer].pop(0) for peer in waiting}
    assert not any(left.values())
