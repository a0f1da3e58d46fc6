"""A reservation as its id names it: enough to record what was used where nobody remembers the reservation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tallygate.client import Usage
from tallygate.integrations.ratelimit.descriptors import usage_of


@dataclass(frozen=True, slots=True)
class Reservation:
    """Where tokens are reserved. Its parts are records of their own, which share out what was used.

    Attributes:
        service: The service that pays; empty where the id names none.
        request_id: The id of its request, which is that of its first part.
        parts: Tokens of each part, in order.
    """

    service: str
    request_id: str
    parts: tuple[int, ...] = (0,)

    def __str__(self) -> str:
        """Its id: `service#request`, and of several parts `service+60+40#request`. No service's name has a plus."""
        parts = "".join(f"+{tokens}" for tokens in self.parts) if len(self.parts) > 1 else ""
        return f"{self.service}{parts}#{self.request_id}"

    def shares(self, usage: Usage, kind: str) -> list[tuple[str, Usage]]:
        """What each part has used, by its id, of tokens of this kind."""
        ids = [part_id(self.request_id, at) for at in range(len(self.parts))]
        return list(zip(ids, split(usage, kind, self.parts), strict=True))


def parse(reservation_id: str) -> Reservation:
    """Reads the id of a reservation; of any other text, a reservation without a service."""
    place, separator, request_id = reservation_id.partition("#")
    service, *parts = place.split("+")
    if not (separator and all(part.isdecimal() and part.isascii() for part in parts)):
        return Reservation("", request_id)
    return Reservation(service, request_id, tuple(map(int, parts)) or (0,))


def part_id(request_id: str, at: int) -> str:
    """The id of a part, counted from 0: ids are unique within a service."""
    return f"{request_id}.{at + 1}" if at else request_id


def split(usage: Usage, kind: str, parts: Sequence[int]) -> list[Usage]:
    """Shares out what was used: of this kind each part has what it held, and the last one the rest.

    All other kinds go with the first part.
    """
    rest: int = getattr(usage, f"{kind}_tokens")
    shares = []
    for at, tokens in enumerate(parts):
        own = rest if at == len(parts) - 1 else min(rest, tokens)
        rest -= own
        shares.append(replace(usage, **{f"{kind}_tokens": own}) if at == 0 else usage_of({kind: own}))
    return shares
