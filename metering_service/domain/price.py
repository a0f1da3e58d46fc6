"""Prices and the one division that turns tokens into money."""

from dataclasses import dataclass, field
from typing import Final

from metering_service.domain.counts import Counts

TOKENS_PER_PRICE_UNIT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """A price version: integer nanos per million tokens, by kind.

    Version 0 is no price at all: money pays for nothing, and nothing becomes debt. A price of zero has a version.
    """

    version: int = 0
    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    dearest_input: int = field(init=False, compare=False, repr=False)
    """The highest price in the input class."""
    dearest_output: int = field(init=False, compare=False, repr=False)
    """The highest price in the output class."""
    kinds: tuple[int, int, int, int, int] = field(init=False, compare=False, repr=False)
    """Nanos per million tokens, in the order of `Counts`."""
    text: str = field(init=False, compare=False, repr=False)
    """Version and prices as resume tokens have them."""

    def __post_init__(self) -> None:
        # Worked out once: every grant asks for them several times.
        object.__setattr__(self, "dearest_input", max(self.input, self.cached_input, self.cache_write))
        object.__setattr__(self, "dearest_output", max(self.output, self.reasoning))
        kinds = self.input, self.cached_input, self.cache_write, self.output, self.reasoning
        object.__setattr__(self, "kinds", kinds)
        object.__setattr__(self, "text", ",".join(map(str, (self.version, *self.kinds))))

    @property
    def is_absent(self) -> bool:
        """Whether it is no price at all, by which money can pay for nothing."""
        return self.version == 0

    def dearest_nanos(self, tokens: int) -> int:
        """The most that this many tokens can cost, whatever their classes and kinds."""
        return -(-tokens * max(self.dearest_input, self.dearest_output) // TOKENS_PER_PRICE_UNIT)

    def cost_nanos(self, billed: Counts) -> int:
        """The exact sum of tokens times price, divided once, rounded down."""
        return (
            billed.input * self.input
            + billed.cached_input * self.cached_input
            + billed.cache_write * self.cache_write
            + billed.output * self.output
            + billed.reasoning * self.reasoning
        ) // TOKENS_PER_PRICE_UNIT

    def hold_nanos(self, input_tokens: int, output_tokens: int) -> int:
        """The most that this many tokens of each class can cost, whatever their kinds turn out to be."""
        return (input_tokens * self.dearest_input + output_tokens * self.dearest_output) // TOKENS_PER_PRICE_UNIT


NO_PRICE: Final = Price()
