"""Counts of running requests, many to a page: what a checkpoint writes most of.

While requests run, nothing changes but their counts, some times a second. As a row each, 10,000 of them keep a database
and the interpreter's lock busy for half a second; as 157 pages they take some milliseconds. So a running request has a
place on a page, which its record names. What lies there is later than the record's own counts, if it is of that place.

A place is `serial << 24 | slot`, and a page has the slots `64 * page` to `64 * page + 63`. Slots are used again,
serials are not: counts of a request that had a slot before are never taken for those of the one that has it now.
"""

from struct import Struct
from typing import Final, NamedTuple

from metering_service.domain.counts import Counts

SLOT_BITS: Final = 24
SLOT_MASK: Final = (1 << SLOT_BITS) - 1
PAGE_BITS: Final = 6
_INDEX_MASK: Final = (1 << PAGE_BITS) - 1
ENTRY: Final = Struct("<6q")
"""A place, then the kinds of tokens in the order of `Counts`. All zero: nobody's, since serials begin with 1."""


class CountsPage(NamedTuple):
    """A page as it is committed: the latest counts of all that have a place on it. Key: (node, epoch, page)."""

    page: int
    data: bytes


def page_of(place: int) -> int:
    """The page that a place is on."""
    return (place & SLOT_MASK) >> PAGE_BITS


def counts_at(data: bytes | bytearray | None, place: int | None) -> Counts | None:
    """What a page says of a place; None where it has nothing of it."""
    if data is None or place is None:
        return None
    found, *kinds = ENTRY.unpack_from(data, (place & _INDEX_MASK) * ENTRY.size)
    return Counts(*kinds) if found == place else None
