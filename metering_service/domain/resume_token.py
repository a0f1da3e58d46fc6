"""The content of a resume token: what another node, or a later epoch, needs to go on with a request.

Only this fleet can make one: `KeyRing` signs the content together with what it is for, and gives back none that it has
not signed. So what is read here is what was written here.
"""

import json
from dataclasses import dataclass
from typing import Final

from metering_service.domain.counts import ZERO
from metering_service.domain.pot import HeldUnits
from metering_service.domain.price import NO_PRICE, Price
from metering_service.domain.receipt import Receipt
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.request_parts import PartStart


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

    @property
    def start(self) -> PartStart:
        """Where a part begins that carries this one on: beyond its grant."""
        return PartStart(
            self.part,
            self.base_input_tokens + self.held.input_tokens,
            self.output_ceiling_tokens,
            self.price,
            self.debt_allowed,
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
        )

    def record(self, service: str, service_uid: str, request_id: str, team: str) -> RequestRecord:
        """The part's record as its node would have written it, nothing having been reported yet.

        Only that node knew the service's team at that moment, so `team` is what this one knows.
        """
        price = self.price
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
            credential="",
            labels=(),
            start_us=self.start_us,
            booked_us=None,
            predecessor_part=self.predecessor_part or None,
            base_input_tokens=self.base_input_tokens,
            base_output_tokens=self.base_output_tokens,
            team=team,
        )


def encode(names: tuple[str, str, str], numbers: tuple[int, ...], held: HeldUnits, price: Price) -> bytes:
    """A content from its values, which every grant needs. The names have nothing that JSON would have to escape."""
    return (_TEXT % (*names, *numbers, *held, price.version, *price.kinds)).encode()


NAMES: Final = 3
HEADS: Final = NAMES + 5
PRICES: Final = HEADS + len(HeldUnits._fields)
LENGTH: Final = PRICES + 1 + len(NO_PRICE.kinds)
_TEXT: Final = "[" + ",".join(['"%s"'] * NAMES + ["%d"] * (LENGTH - NAMES)) + "]"


def decode(content: bytes) -> ResumeToken:
    """What `encode` was given. A content of another shape must be signed for another purpose: see `KeyRing`."""
    values = json.loads(content)
    part, node, predecessor_part, epoch, start_us, base_input_tokens, base_output_tokens, debt_allowed = values[:HEADS]
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
        Price(*values[PRICES:]),
    )
