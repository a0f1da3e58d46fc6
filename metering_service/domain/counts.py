"""Token counts by kind, and how reports of the same request merge."""

from typing import NamedTuple, TypeAlias


class Counts(NamedTuple):
    """Tokens by kind; the kinds are disjoint. Never negative, but for differences of two counts."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def input_class(self) -> int:
        """Tokens of the input class."""
        return self.input + self.cached_input + self.cache_write

    @property
    def output_class(self) -> int:
        """Tokens of the output class."""
        return self.output + self.reasoning

    @property
    def total(self) -> int:
        """Tokens of both classes."""
        return sum(self)

    def __add__(self, other: "Counts") -> "Counts":  # type: ignore[override]  # counts add up by kind
        return Counts(
            self.input + other.input,
            self.cached_input + other.cached_input,
            self.cache_write + other.cache_write,
            self.output + other.output,
            self.reasoning + other.reasoning,
        )

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(
            self.input - other.input,
            self.cached_input - other.cached_input,
            self.cache_write - other.cache_write,
            self.output - other.output,
            self.reasoning - other.reasoning,
        )


ZERO = Counts()


InputRank: TypeAlias = tuple[int, bool, int, int, int, int]
OutputRank: TypeAlias = tuple[int, bool, int, int, int]
"""What one report says of one class, in order of precedence: the greater of two is the one that holds.

First the class total (it never shrinks), then a finish before others, then the report's own total (servers learn late
which input was cached), then the kinds themselves, so that the order of arrival never matters.
"""


class Tally(NamedTuple):
    """The merged counts of a request. Merging is a maximum: commutative, associative, idempotent.

    `counts` are those that hold: what is ranked in both classes, once more.
    """

    input: InputRank = (0, False, 0, 0, 0, 0)
    output: OutputRank = (0, False, 0, 0, 0)
    counts: Counts = ZERO

    @classmethod
    def of(cls, counts: Counts, *, finish: bool) -> "Tally":
        """What one report says."""
        new, cached, written, output, reasoning = counts
        input_class, output_class = new + cached + written, output + reasoning
        total = input_class + output_class
        return cls(
            (input_class, finish, total, new, cached, written),
            (output_class, finish, total, output, reasoning),
            counts,
        )

    def merge(self, other: "Tally") -> "Tally":
        """Both reports, in either order. Nearly always one of them says all that the other does."""
        if other.input >= self.input and other.output >= self.output:
            return other
        if self.input >= other.input and self.output >= other.output:
            return self
        greater_input, greater_output = max(self.input, other.input), max(self.output, other.output)
        return Tally(greater_input, greater_output, Counts(*greater_input[3:], *greater_output[3:]))
