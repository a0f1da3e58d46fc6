"""Copies of pages as they were read last, for when the service that they come from is away."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

COPIES_BYTES_MAX: Final = 256 * 1024
"""Maximum size of all copies of one session, packed."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A page as it was read at a time."""

    packed: bytes
    read_us: int

    @property
    def html(self) -> str:
        """The page."""
        return zlib.decompress(self.packed).decode()


class Copies:
    """The pages that a session read last, by their addresses; the oldest make room for others."""

    def __init__(self) -> None:
        self._by_address: OrderedDict[str, Copy] = OrderedDict()
        self._bytes = 0

    def keep(self, address: str, html: str, read_us: int) -> None:
        """Keep a page in place of what it was before; one that is too big by itself is not kept."""
        self.forget(address)
        packed = zlib.compress(html.encode(), level=1)
        if len(packed) > COPIES_BYTES_MAX:
            return
        self._by_address[address] = Copy(packed, read_us)
        self._bytes += len(packed)
        while self._bytes > COPIES_BYTES_MAX:
            _, oldest = self._by_address.popitem(last=False)
            self._bytes -= len(oldest.packed)

    def forget(self, address: str) -> None:
        """Keep no copy of this page."""
        known = self._by_address.pop(address, None)
        self._bytes -= len(known.packed) if known else 0

    def clear(self) -> None:
        """Keep no copy of any page."""
        self._by_address.clear()
        self._bytes = 0

    def of(self, address: str) -> Copy | None:
        """The page as it was read last; None where it was not, or too long ago."""
        return self._by_address.get(address)
