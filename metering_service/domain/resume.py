"""The opaque token of a grant: what another node, or a later epoch, needs to go on with a request."""

import json
import zlib
from dataclasses import dataclass

from metering_service.domain.counts import ZERO
from metering_service.domain.lineage import Origin
from metering_service.domain.price import NO_PRICE, Price
from metering_service.domain.records import HeldUnits, Receipt, RequestRecord, SettlementState

TOKEN_BYTES_MAX = 1_024
PRICE_MAX = 10**15
"""The highest that the catalogue takes: no request's cost leaves 64 bits."""
NUMBER_MAX = 10**17
"""Above every time in microseconds, count and price that this service gives out."""


@dataclass(frozen=True, slots=True)
class ResumeToken:
    """A part as its node knew it when it gave the grant: enough to settle it, should the node be lost untimely."""

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
    def origin(self) -> Origin:
        """Where a part begins that carries this one on: beyond its grant."""
        return Origin(
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

    def encode(self, request_id: str) -> bytes:
        """As compact text, good for this request only; readers other than this module treat it as opaque."""
        return encode(
            request_id,
            (self.part, self.node, self.predecessor_part),
            (self.epoch, self.start_us, self.base_input_tokens, self.base_output_tokens, int(self.debt_allowed)),
            self.held,
            self.price,
        )

    def record(self, service: str, service_uid: str, request_id: str) -> RequestRecord:
        """The part's record as its node would have written it, nothing having been reported yet."""
        price = self.price
        return RequestRecord(
            service=service,
            service_uid=service_uid,
            request_id=request_id,
            part=self.part,
            node=self.node,
            epoch=self.epoch,
            state=SettlementState.OPEN,
            counts=ZERO,
            receipt=Receipt(price_version=price.version),
            held=self.held,
            price_nanos_per_million=price.kinds,
            debt_allowed=self.debt_allowed,
            estimated=False,
            credential="",
            labels=(),
            start_us=self.start_us,
            settle_us=None,
            predecessor_part=self.predecessor_part or None,
            base_input_tokens=self.base_input_tokens,
            base_output_tokens=self.base_output_tokens,
        )


def encode(
    request_id: str, names: tuple[str, str, str], numbers: tuple[int, ...], held: HeldUnits, price: Price
) -> bytes:
    """A token from its values, which every grant needs. The names have nothing that JSON would have to escape."""
    values = (*names, *numbers, *held, price.version, *price.kinds, _check(request_id))
    return (_TEXT % values).encode()


NAMES = 3
HEADS = NAMES + 5
PRICE_LENGTH = 1 + len(NO_PRICE.kinds)
LENGTH = HEADS + len(HeldUnits._fields) + PRICE_LENGTH + 1
_TEXT = "[" + ",".join(['"%s"'] * NAMES + ["%d"] * (LENGTH - NAMES)) + "]"


def decode(token: bytes, request_id: str) -> ResumeToken | None:  # noqa: PLR0911  # a list of checks
    """The token, or None if it is none of ours, or was given for another request."""
    if len(token) > TOKEN_BYTES_MAX:
        return None
    try:
        values = json.loads(token)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list) or len(values) != LENGTH:
        return None
    if not all(_is_name(value) for value in values[:NAMES]) or not all(_is_number(value) for value in values[NAMES:]):
        return None
    if values.pop() != _check(request_id):
        return None
    prices = len(values) - PRICE_LENGTH
    if not values[0] or max(values[prices + 1 :]) > PRICE_MAX:
        return None
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
        HeldUnits(*values[HEADS:prices]),
        Price(*values[prices:]),
    )


def _check(request_id: str) -> int:
    """Guards against a mix-up, not against forgery: inference servers are trusted."""
    return zlib.crc32(request_id.encode())


def _is_name(value: object) -> bool:
    """Whether it can be the name of a node or a part: plain ASCII, as this service makes them."""
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= NUMBER_MAX
