"""Token counts by kind, and how reports of the same request merge."""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias


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


ZERO: Final = Counts()


InputRank: TypeAlias = tuple[bool, int, bool, int, int, int, int, bool]
OutputRank: TypeAlias = tuple[bool, int, bool, int, int, int, bool]
"""Rank of one report in one class, in order of precedence: of two ranks the greater one holds.

An exact finish, one that is not estimated, comes first and replaces all others, downwards too. Then comes the class
total, then a finish before others, then the report's own total (servers learn late which input was cached), then the
kinds themselves, then a count before an estimate. The order is total, so the order of arrival never matters. An exact
rank without a finish is the front of an exact finish whose rest another part has (see `request_parts.front_of`).
"""
Ranks: TypeAlias = tuple[int, ...]
"""All of both ranks that the counts do not say: `exact, finish, report_tokens, counted` of input, then of output."""


class Tally(NamedTuple):
    """The merged counts of a request. Merging is a maximum: commutative, associative, idempotent.

    `counts` are those that hold: what is ranked in both classes, once more.
    """

    input: InputRank = (False, 0, False, 0, 0, 0, 0, True)
    output: OutputRank = (False, 0, False, 0, 0, 0, True)
    counts: Counts = ZERO

    @classmethod
    def of(cls, counts: Counts, *, finish: bool, estimated: bool = False) -> "Tally":
        """What one report says."""
        new, cached, written, output, reasoning = counts
        input_class, output_class = new + cached + written, output + reasoning
        total = input_class + output_class
        exact = finish and not estimated
        return cls(
            (exact, input_class, finish, total, new, cached, written, not estimated),
            (exact, output_class, finish, total, output, reasoning, not estimated),
            counts,
        )

    @classmethod
    def from_ranks(cls, counts: Counts, ranks: Ranks) -> "Tally":
        """The tally that has these counts and ranks."""
        exact_in, finish_in, total_in, counted_in, exact_out, finish_out, total_out, counted_out = ranks
        new, cached, written, output, reasoning = counts
        return cls(
            (
                bool(exact_in),
                new + cached + written,
                bool(finish_in),
                total_in,
                new,
                cached,
                written,
                bool(counted_in),
            ),
            (bool(exact_out), output + reasoning, bool(finish_out), total_out, output, reasoning, bool(counted_out)),
            counts,
        )

    @property
    def ranks(self) -> Ranks:
        """What `from_ranks` needs beside the counts."""
        exact_in, _, finish_in, total_in, *_, counted_in = self.input
        exact_out, _, finish_out, total_out, *_, counted_out = self.output
        said = (exact_in, finish_in, total_in, counted_in, exact_out, finish_out, total_out, counted_out)
        return tuple(map(int, said))

    @property
    def exact(self) -> bool:
        """Whether a finish that is not estimated has said what holds, of either class."""
        return self.input[0] or self.output[0]

    @property
    def estimated(self) -> bool:
        """Whether what holds is an estimate, of either class."""
        return not (self.input[-1] and self.output[-1])

    @property
    def is_plain(self) -> bool:
        """Whether one report of progress, not estimated, has said all that holds."""
        return self.input[-1] and self.is_of_one(finish=False)

    def is_of_one(self, *, finish: bool) -> bool:
        """Whether one report has said all that holds, a finish or not."""
        exact_in, class_in, finish_in, total_in, _, _, _, counted_in = self.input
        exact_out, class_out, finish_out, total_out, _, _, counted_out = self.output
        return (
            total_in == total_out == class_in + class_out
            and finish_in is finish_out is finish
            and counted_in is counted_out
            and exact_in is exact_out is (finish and counted_in)
        )

    @property
    def only_exact(self) -> "Tally":
        """What of it a finish has said that is not estimated, in full; nothing of a class of which none has."""
        input_rank = self.input if self.input[0] and self.input[2] else NOTHING.input
        output_rank = self.output if self.output[0] and self.output[2] else NOTHING.output
        return Tally(input_rank, output_rank, Counts(*input_rank[4:7], *output_rank[4:6]))

    def merge(self, other: "Tally") -> "Tally":
        """Both reports, in either order. Nearly always one of them says all that the other does."""
        if other.input >= self.input and other.output >= self.output:
            return other
        if self.input >= other.input and self.output >= other.output:
            return self
        greater_input, greater_output = max(self.input, other.input), max(self.output, other.output)
        return Tally(greater_input, greater_output, Counts(*greater_input[4:7], *greater_output[4:6]))

    def learns_from(self, other: "Tally") -> bool:
        """Whether merging the other one changes a class total, or says one exactly: not only how it is sorted."""
        return other.input[:2] > self.input[:2] or other.output[:2] > self.output[:2]


NOTHING: Final = Tally()
"""Tally of a request before the first report that counts."""


def beyond(counts: Counts, base_input_tokens: int, base_output_tokens: int) -> Counts:
    """What is left of `counts` after the front of each class, which another node books."""
    input_kinds = [counts.input, counts.cached_input, counts.cache_write]
    output_kinds = [counts.output, counts.reasoning]
    take_front(input_kinds, base_input_tokens)
    take_front(output_kinds, base_output_tokens)
    return Counts(*input_kinds, *output_kinds)


def up_to(counts: Counts, input_tokens: int, output_tokens: int) -> Counts:
    """The front of each class of `counts`: the part that `beyond` leaves out."""
    return counts - beyond(counts, input_tokens, output_tokens)


def at_least(counts: Counts, booked: Counts) -> Counts:
    """The counts, but of a class of which more was booked, what was booked."""
    input_kinds = counts[:3] if counts.input_class >= booked.input_class else booked[:3]
    output_kinds = counts[3:] if counts.output_class >= booked.output_class else booked[3:]
    return Counts(*input_kinds, *output_kinds)


def take_front(kinds: list[int], tokens: int) -> Sequence[int]:
    """Take this many tokens from the front of a sequence of kinds, in place; say what was taken of each."""
    taken = []
    for index, count in enumerate(kinds):
        part = min(count, tokens)
        taken.append(part)
        kinds[index] = count - part
        tokens -= part
    return taken
