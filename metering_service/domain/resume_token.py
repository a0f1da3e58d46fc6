"""The content of a resume token: what another node, or a later epoch, needs to go on with a request.

Only this fleet can make one: `KeyRing` signs the content together with what it is for, and gives back none that it has
not signed. So what is read here is what was written here.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from metering_service.domain.counts import ZERO
from metering_service.domain.pot import HeldUnits, LimitPotKey, PotKind
from metering_service.domain.price import NO_PRICE, Price
from metering_service.domain.receipt import Receipt
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.request_parts import PartStart
from metering_service.domain.stamp import Stamp


@dataclass(frozen=True, slots=True)
class ResumeToken:
    """A part as its node knew it when it gave the grant: enough to book it, should the node be lost untimely."""

    part: str
    node: str
    predecessor_part: str
    """Empty where there is none."""
    epoch: int
    start_us: int
    base_input_tokens: int
    base_output_tokens: int
    debt_allowed: bool
    held: HeldUnits
    price: Price
    stamp: Stamp

    @property
    def start(self) -> PartStart:
        """Where a part begins that carries this one on: beyond its grant."""
        return PartStart(
            self.part,
            self.base_input_tokens + self.held.input_tokens,
            self.output_ceiling_tokens,
            self.price,
            self.debt_allowed,
            self.stamp,
        )

    @property
    def output_ceiling_tokens(self) -> int:
        """The ceiling that the grant named."""
        return self.base_output_tokens + self.held.output_ceiling_tokens

    def encode(self) -> bytes:
        """The content, as compact text."""
        return encode(
            (self.part, self.node, self.predecessor_part),
            (self.epoch, self.start_us, self.base_input_tokens, self.base_output_tokens, int(self.debt_allowed)),
            self.held,
            self.price,
            self.stamp,
        )

    def record(self, service: str, service_uid: str, request_id: str) -> RequestRecord:
        """The part's record as its node would have written it, nothing having been reported yet."""
        price, stamp = self.price, self.stamp
        return RequestRecord(
            service=service,
            service_uid=service_uid,
            request_id=request_id,
            part=self.part,
            node=self.node,
            epoch=self.epoch,
            state=RequestState.OPEN,
            counts=ZERO,
            receipt=Receipt(price_version=price.version),
            held=self.held,
            price_nanos_per_million=price.kinds,
            debt_allowed=self.debt_allowed,
            estimated=False,
            credential=stamp.credential,
            labels=(),
            start_us=self.start_us,
            booked_us=None,
            predecessor_part=self.predecessor_part or None,
            base_input_tokens=self.base_input_tokens,
            base_output_tokens=self.base_output_tokens,
            team=stamp.team,
            key_team=stamp.key_team,
            hour_us=stamp.hour_us,
            pots=stamp.pots,
        )


def encode(names: tuple[str, str, str], numbers: tuple[int, ...], held: HeldUnits, price: Price, stamp: Stamp) -> bytes:
    """A content from its values, which every grant needs. The names have nothing that JSON would have to escape."""
    return f"{_TEXT % (*names, *numbers, *held)}{price.text}{_stamp_text(stamp)}".encode()


NAMES: Final = 3
HEADS: Final = NAMES + 5
PRICES: Final = HEADS + len(HeldUnits._fields)
STAMP: Final = PRICES + 1 + len(NO_PRICE.kinds)
_TEXT: Final = "[" + '"%s",' * NAMES + "%d," * (PRICES - NAMES)


@lru_cache(maxsize=4_096)  # All requests of a key share it for an hour.
def _stamp_text(stamp: Stamp) -> str:
    """The rest of the content: what a credential is, this node did not make up."""
    return "," + json.dumps(stamp, separators=(",", ":"), ensure_ascii=False) + "]"


def decode(content: bytes) -> ResumeToken:
    """What `encode` was given. A content of another shape must be signed for another purpose: see `KeyRing`."""
    values = json.loads(content)
    part, node, predecessor_part, epoch, start_us, base_input_tokens, base_output_tokens, debt_allowed = values[:HEADS]
    credential, key_team, team, hour_us, pots = values[STAMP]
    return ResumeToken(
        part,
        node,
        predecessor_part,
        epoch,
        start_us,
        base_input_tokens,
        base_output_tokens,
        bool(debt_allowed),
        HeldUnits(*values[HEADS:PRICES]),
        Price(*values[PRICES:STAMP]),
        Stamp(credential, key_team, team, hour_us, _pots_of(pots)),
    )


def _pots_of(pots: list[list[Any]]) -> tuple[LimitPotKey, ...]:
    return tuple(LimitPotKey(PotKind(kind), *which) for kind, *which in pots)
