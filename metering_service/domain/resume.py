"""The opaque token of a grant: what another node, or a later epoch, needs to go on with a request."""

import json
from dataclasses import astuple, dataclass, fields

from metering_service.domain.price import Price

TOKEN_BYTES_MAX = 512
NUMBER_MAX = 10**17
"""Above every time in microseconds, count and price that this service gives out."""


@dataclass(frozen=True, slots=True)
class ResumeToken:
    """Who gave the grant, how far it went, and at what price."""

    part: str
    node: str
    epoch: int
    input_tokens: int
    output_ceiling_tokens: int
    start_us: int
    price: Price

    def encode(self) -> bytes:
        """As compact text; readers other than this module treat it as opaque."""
        values = [self.part, self.node, self.epoch, self.input_tokens, self.output_ceiling_tokens, self.start_us]
        return json.dumps([*values, *astuple(self.price)], separators=(",", ":")).encode()


def decode(token: bytes) -> ResumeToken | None:
    """The token, or None if it is none of ours."""
    if len(token) > TOKEN_BYTES_MAX:
        return None
    try:
        part, node, epoch, input_tokens, ceiling, start_us, *price = json.loads(token)
        numbers = [epoch, input_tokens, ceiling, start_us, *price]
    except (ValueError, TypeError, RecursionError):
        return None
    if not (_is_name(part) and _is_name(node) and len(price) == len(fields(Price))):
        return None
    if any(type(number) is not int or not 0 <= number <= NUMBER_MAX for number in numbers):
        return None
    return ResumeToken(part, node, epoch, input_tokens, ceiling, start_us, Price(*price))


def _is_name(value: object) -> bool:
    """Whether it can be the name of a node or a part: plain ASCII, as this service makes them."""
    return isinstance(value, str) and value.isascii() and value.isprintable()
