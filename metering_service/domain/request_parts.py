"""The parts of one request, and how they hang together.

A request that moves to another node goes on there as a new part. The new part names the one that it carries on, and
begins where that one's grant ends. Each part is booked by
the node that gave its grant, so each token is booked once, whichever node hears the finish.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from metering_service.domain.counts import NOTHING, Tally, up_to
from metering_service.domain.price import Price
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.stamp import Stamp


@dataclass(frozen=True, slots=True)
class PartStart:
    """What a new part carries on: whose, from where, and on which terms."""

    part: str
    input_tokens: int
    output_tokens: int
    price: Price
    debt_allowed: bool
    stamp: Stamp


def start_after(record: RequestRecord) -> PartStart:
    """Where to go on from a part: beyond its grant."""
    return PartStart(
        record.part,
        record.base_input_tokens + record.held.input_tokens,
        record.base_output_tokens + record.held.output_ceiling_tokens,
        Price(record.receipt.price_version, *record.price_nanos_per_million),
        record.debt_allowed,
        record.stamp,
    )


def last_part(parts: Sequence[RequestRecord], first: str | None) -> RequestRecord | None:
    """The end of the chain that goes on from the part `first`, itself included; None if nothing is known of it.

    Without `first`: the end of the chain that was begun last.
    """
    chain = list(parts) if first is None else [part for part in parts if part.part == first]
    chain += later_parts(parts, first) if first is not None else []
    named = {part.predecessor_part for part in chain}
    ends = [part for part in chain if part.part not in named]
    return max(ends, key=lambda part: (part.start_us, part.part), default=None)


def booked_end(parts: Sequence[RequestRecord], part: str) -> RequestRecord | None:
    """The end of what goes on from a part, if that is booked; None if nothing goes on from it, or still runs."""
    last = last_part(parts, part)
    return last if last is not None and last.part != part and last.state is not RequestState.OPEN else None


def later_parts(parts: Sequence[RequestRecord], first: str) -> list[RequestRecord]:
    """All parts that go on from `first`, directly or not."""
    names, later = {first}, list[RequestRecord]()
    while more := [part for part in parts if part.predecessor_part in names and part.part not in names]:
        later += more
        names.update(part.part for part in more)
    return later


def earlier_parts(parts: Sequence[RequestRecord], last: RequestRecord) -> list[RequestRecord]:
    """The parts that lead to `last`, the first one first, as far as they are on record."""
    by_name, chain = {part.part: part for part in parts if part.part != last.part}, list[RequestRecord]()
    before = last.predecessor_part
    while before is not None and (part := by_name.pop(before, None)) is not None:
        chain.insert(0, part)
        before = part.predecessor_part
    return chain


def end_of(part: str, parts: Sequence[RequestRecord], begin: tuple[int, int] | None = None) -> tuple[int, int]:
    """Where those begin, of each class, that go on from a part: what lies beyond is theirs to book.

    `begin`: where one of them does that may not be on record yet.
    """
    begins = [
        (record.base_input_tokens, record.base_output_tokens) for record in parts if record.predecessor_part == part
    ]
    if begin is not None:
        begins.append(begin)
    return min(input_tokens for input_tokens, _ in begins), min(output_tokens for _, output_tokens in begins)


def front_of(tally: Tally, input_tokens: int, output_tokens: int) -> Tally:
    """What a tally says of the front of each class. Where a class goes on beyond it, its finish is not here.

    That it is said exactly stays: a smaller finish, said before, does not hold here either.
    """
    reached = up_to(tally.counts, input_tokens, output_tokens)
    input_rank, output_rank, total = tally.input, tally.output, reached.total
    if reached.input_class < input_rank[1]:
        input_rank = (input_rank[0], reached.input_class, False, total, *reached[:3], input_rank[-1])
    if reached.output_class < output_rank[1]:
        output_rank = (output_rank[0], reached.output_class, False, total, *reached[3:], output_rank[-1])
    return Tally(input_rank, output_rank, reached)


def said_exactly(part: str | None, parts: Sequence[RequestRecord]) -> Tally:
    """What a finish that is not estimated has said to any part of the request that `part` is of; else nothing."""
    tally, own = NOTHING, next((record for record in parts if record.part == part), None)
    if own is None:
        return tally
    first = next(iter(earlier_parts(parts, own)), own)
    for record in (first, *later_parts(parts, first.part)):
        tally = tally.merge(record.tally.only_exact)
    return tally


def final_tally(tally: Tally, part: str, parts: Sequence[RequestRecord]) -> Tally | None:
    """What a part has to book at its end: what it heard itself, and what later parts heard, up to where they begin.

    What was said exactly holds, whichever part heard it. None while a later part runs that may yet hear of tokens which
    are this one's, or that what it counted as its own was estimated too high.
    """
    tally = tally.merge(said_exactly(part, parts))
    later = later_parts(parts, part)
    if not later:
        return tally
    for record in later:
        tally = tally.merge(record.tally)
    input_tokens, output_tokens = end_of(part, later)
    reached = front_of(tally, input_tokens, output_tokens)
    complete = (reached.input[1], reached.output[1]) == (input_tokens, output_tokens)
    is_open = any(record.state is RequestState.OPEN for record in later if _is_end(record, later))
    if is_open and (reached.estimated or not complete):
        return None
    return reached


def _is_end(record: RequestRecord, later: Sequence[RequestRecord]) -> bool:
    return all(other.predecessor_part != record.part for other in later)
