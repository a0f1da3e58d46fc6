"""Fairness between peers: of what is bounded, the one that has most gives way, and who guesses has to wait."""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

GUESSERS_MAX: Final = 10_000
"""Maximum number of peers whose wrong credentials are counted; beyond it the longest quiet one is forgotten."""
SECOND_NS: Final = 1_000_000_000
MADE_UP_FOR_MAX_NS: Final = 10 * SECOND_NS
"""Maximum time for which a peer may have shown too many: more than control is asked about at once."""


class ByPeer(Generic[Item]):
    """Items of several peers, of each in order of their age. The longest list is found without a search."""

    def __init__(self) -> None:
        self._items: dict[str, OrderedDict[Item, None]] = {}
        self._peers_with: dict[int, OrderedDict[str, None]] = {}
        """Peers by the length of their lists."""
        self._longest = 0
        self.count = 0

    def add(self, peer: str, item: Item) -> None:
        """One more of this peer, its youngest; it has it only once."""
        items = self._items.setdefault(peer, OrderedDict())
        if item not in items:
            self._move(peer, len(items), len(items) + 1)
            self.count += 1
        items[item] = None
        items.move_to_end(item)

    def discard(self, peer: str, item: Item) -> None:
        """Not this one any more."""
        items = self._items.get(peer)
        if items is None or item not in items:
            return
        del items[item]
        self._move(peer, len(items) + 1, len(items))
        self.count -= 1
        if not items:
            del self._items[peer]

    def pop_of_longest(self) -> Item:
        """Take the oldest of the peer that has most."""
        peer = next(iter(self._peers_with[self._longest]))
        item = next(iter(self._items[peer]))
        self.discard(peer, item)
        return item

    def _move(self, peer: str, before: int, after: int) -> None:
        """A list has another length now, by one."""
        if before:
            peers = self._peers_with[before]
            del peers[peer]
            if not peers:
                del self._peers_with[before]
        if after:
            self._peers_with.setdefault(after, OrderedDict())[peer] = None
        if after > before:
            self._longest = max(self._longest, after)
        elif self._longest not in self._peers_with:
            self._longest = after


class InTurn(Generic[Item]):
    """Items of several peers that wait for their turn: one of each peer, then the next of each."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, OrderedDict[Item, None]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._items)

    def add(self, peer: str, item: Item) -> None:
        """One more of this peer waits."""
        self._items.setdefault(peer, OrderedDict())[item] = None

    def discard(self, peer: str, item: Item) -> None:
        """This one waits no longer."""
        items = self._items.get(peer)
        if items is not None:
            items.pop(item, None)
            if not items:
                del self._items[peer]

    def pop(self) -> Item:
        """Take the oldest of the peer whose turn it is."""
        peer = next(iter(self._items))
        items = self._items[peer]
        item, _ = items.popitem(last=False)
        if items:
            self._items.move_to_end(peer)
        else:
            del self._items[peer]
        return item


class WrongCredentials:
    """Which peers have shown too many credentials that open nothing: more than so many a second, on average.

    Only what was wrong counts, so a peer may show right ones in any number. Those that control was asked about before
    it had answered for the ones before are made up for, too.
    """

    def __init__(self, per_s: int) -> None:
        self._each_ns = SECOND_NS // per_s
        self._until_ns: OrderedDict[str, int] = OrderedDict()
        """Of each peer: when all that it has shown would have come, had it come at that rate."""

    def note(self, peer: str, now_ns: int) -> None:
        """One more of this peer."""
        until_ns = max(self._until_ns.pop(peer, 0), now_ns) + self._each_ns
        self._until_ns[peer] = min(until_ns, now_ns + MADE_UP_FOR_MAX_NS)
        if len(self._until_ns) > GUESSERS_MAX:
            self._until_ns.popitem(last=False)

    def are_too_many(self, peer: str, now_ns: int) -> bool:
        """Whether a peer is to wait: it has shown those of a second, and time has not made up for any yet."""
        return self._until_ns.get(peer, 0) + self._each_ns > now_ns + SECOND_NS
