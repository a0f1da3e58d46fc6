"""Counts of running requests, many to a page: what a checkpoint writes most of.

While requests run, nothing changes but their counts, some times a second. As a row each, 10,000 of them keep a database
and the interpreter's lock busy for half a second; as 157 pages they take some milliseconds. So a running request has a
place on a page, which its record names. What lies there is later than the record's own counts, if it is of that place.

A place is `serial << 24 | slot`, and a page has the slots `64 * page` to `64 * page + 63`. Slots are used again,
serials are not: counts of a request that had a slot before are never taken for those of the one that has it now.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from metering_service.domain.counts import Counts

SLOT_BITS: Final = 24
SLOT_MASK: Final = (1 << SLOT_BITS) - 1
PAGE_BITS: Final = 6
_INDEX_MASK: Final = (1 << PAGE_BITS) - 1
_NEIGHBOURS_BITS: Final = 9
NOWHERE: Final = -1
"""The neighbourhood of what has no place."""

_ENTRY: Final = Struct("<6q")
"""A place, then the kinds of tokens in the order of `Counts`. All zero: nobody's, since serials begin with 1."""


class CountsPage(NamedTuple):
    """A page as it is committed: the latest counts of all that have a place on it. Key: (node, epoch, page)."""

    page: int
    data: bytes


class CountsPages:
    """The pages of one epoch of a node. Memory is bounded by the most requests that ran at once."""

    def __init__(self) -> None:
        self._pages: list[bytearray] = []
        self._changed: set[int] = set()
        self._free_slots: list[int] = []
        self._slot_count = 0
        self._serial = 0

    def take(self) -> int:
        """A place that nobody has had before."""
        self._serial += 1
        if self._free_slots:
            slot = self._free_slots.pop()
        else:
            slot = self._slot_count
            self._slot_count += 1
            if page_of(slot) == len(self._pages):
                self._pages.append(bytearray(_ENTRY.size << PAGE_BITS))
        return self._serial << SLOT_BITS | slot

    def give_back(self, place: int) -> None:
        """The request that had it runs no longer."""
        self._free_slots.append(place & SLOT_MASK)

    def write(self, place: int, kinds: Sequence[int]) -> None:
        """Note the latest counts, by kind in the order of `Counts`."""
        page = (place & SLOT_MASK) >> PAGE_BITS
        _ENTRY.pack_into(self._pages[page], (place & _INDEX_MASK) * _ENTRY.size, place, *kinds)
        self._changed.add(page)

    def has(self, place: int) -> bool:
        """Whether something was written for this place."""
        return counts_at(self._pages[page_of(place)], place) is not None

    def take_changed(self) -> list[CountsPage]:
        """The pages that changed since this was asked last."""
        changed, self._changed = self._changed, set()
        return [CountsPage(page, bytes(self._pages[page])) for page in sorted(changed)]


def page_of(place: int) -> int:
    """The page that a place is on."""
    return (place & SLOT_MASK) >> PAGE_BITS


def neighbourhood_of(place: int) -> int:
    """Which eight pages it is on: what lies there is best written together."""
    return (place & SLOT_MASK) >> _NEIGHBOURS_BITS


def counts_at(data: bytes | bytearray | None, place: int | None) -> Counts | None:
    """What a page says of a place; None where it has nothing of it."""
    if data is None or place is None:
        return None
    found, *kinds = _ENTRY.unpack_from(data, (place & _INDEX_MASK) * _ENTRY.size)
    return Counts(*kinds) if found == place else None
