"""The opaque token of a grant: what another node, or a later epoch, needs to go on with a request."""

import json
from dataclasses import astuple, dataclass, fields

from metering_service.domain.price import Price


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
    try:
        part, node, epoch, input_tokens, ceiling, start_us, *price = json.loads(token)
        numbers = [epoch, input_tokens, ceiling, start_us, *price]
    except (ValueError, TypeError):
        return None
    if not (isinstance(part, str) and isinstance(node, str) and len(price) == len(fields(Price))):
        return None
    if any(type(number) is not int or number < 0 for number in numbers):
        return None
    return ResumeToken(part, node, epoch, input_tokens, ceiling, start_us, Price(*price))
