"""How the parts of a request hang together, and how far each of them got."""

import pytest

from metering_service.domain.counts import ZERO, Counts, Tally
from metering_service.domain.pot import HeldUnits
from metering_service.domain.price import Price
from metering_service.domain.receipt import Receipt
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.request_parts import final_tally, last_part, later_parts, start_after

OPEN, FINISHED = RequestState.OPEN, RequestState.FINISHED
TIMED_OUT = RequestState.TIMED_OUT
NOW_US = 1_000


def part(
    name: str,
    output: int,
    state: RequestState = FINISHED,
    *,
    after: str | None = None,
    base: int = 0,
    held: int = 0,
    start_us: int = 0,
) -> RequestRecord:
    """A part that heard of so much output."""
    return RequestRecord(
        service="accounts/acme/services/chat",
        service_uid="uid",
        request_id="r1",
        part=name,
        node="a",
        epoch=1,
        state=state,
        counts=Counts(output=output),
        receipt=Receipt(price_version=3),
        held=HeldUnits(output_ceiling_tokens=held),
        price_nanos_per_million=(1, 2, 3, 4, 5),
        debt_allowed=True,
        estimated=False,
        credential="",
        labels=(),
        start_us=start_us,
        booked_us=None if state is OPEN else NOW_US,
        predecessor_part=after,
        base_output_tokens=base,
    )


P = part("p", 40, OPEN, held=100)
Q = part("q", 130, OPEN, after="p", base=100, held=50)
R = part("r", 200, after="q", base=150)


def test_the_line_is_followed_to_its_end() -> None:
    """From any part of it; of several that went on from the same part, the one that began last."""
    parts = [R, P, Q]
    assert [last_part(parts, first) for first in ("p", "q", "r", None)] == [R] * 4
    assert last_part(parts, "unknown") is None
    assert last_part([], None) is None
    later = part("q2", 5, after="p", base=100, start_us=9)
    assert last_part([P, Q, later], "p") == later


def test_a_part_that_nobody_recorded_still_has_a_line() -> None:
    """Those who went on from it name it."""
    assert last_part([Q, R], "p") == R
    assert later_parts([Q, R], "p") == [Q, R]


def test_of_several_lines_the_one_begun_last_counts() -> None:
    """An id that was used again, or a finish that came without an authorisation."""
    old, new = part("x", 1, start_us=1), part("y", 1, start_us=2)
    assert last_part([new, old], None) == new


def test_parts_that_name_each_other_are_not_followed_for_ever() -> None:
    """Garbage in the database is garbage, not an endless loop."""
    one, two = part("one", 1, after="two"), part("two", 1, after="one")
    assert {record.part for record in later_parts([one, two], "one")} == {"two"}
    last_part([one, two], "one")
    last_part([one, two], None)


@pytest.mark.parametrize(("record", "output_tokens"), [(P, 100), (Q, 150)])
def test_who_goes_on_begins_where_the_grant_ends(record: RequestRecord, output_tokens: int) -> None:
    """On the terms on which the part before was begun."""
    start = start_after(record)
    assert (start.part, start.output_tokens) == (record.part, output_tokens)
    assert (start.price, start.debt_allowed) == (Price(3, 1, 2, 3, 4, 5), True)


def final(record: RequestRecord, parts: list[RequestRecord]) -> Counts | None:
    own = Tally.of(record.counts, finish=False)
    tally = final_tally(own, record.part, parts)
    return None if tally is None else tally.counts


def test_nobody_went_on() -> None:
    """A part's last counts are its own."""
    assert final(P, []) == final(P, [P]) == Counts(output=40)


@pytest.mark.parametrize(("heard", "reached"), [(60, 60), (100, 100), (130, 100)])
def test_a_part_got_as_far_as_the_next_one_heard_up_to_where_that_begins(heard: int, reached: int) -> None:
    """Beyond, the next one books."""
    assert final(P, [P, Q._replace(counts=Counts(output=heard), state=FINISHED)]) == Counts(output=reached)


def test_what_lies_beyond_is_the_next_ones_whoever_heard_of_it() -> None:
    """A part whose later grant was never heard of books only up to where the next one begins."""
    assert final(P._replace(counts=Counts(output=170)), [Q, R]) == Counts(output=100)


def test_the_whole_line_tells_how_far_a_part_got() -> None:
    """Not only the next part, which may have been lost before it heard of anything."""
    lost = Q._replace(counts=ZERO)
    assert final(P, [P, lost, R]) == Counts(output=100)
    assert final(lost, [P, lost, R]) == Counts(output=150)


def test_a_part_that_still_runs_is_waited_for() -> None:
    """Unless it is beyond all that is this one's already."""
    assert final(P, [P, Q._replace(counts=Counts(output=99))]) is None
    assert final(P, [P, Q._replace(counts=Counts(output=100))]) == Counts(output=100)


def test_a_part_that_timed_out_was_the_last() -> None:
    """Nobody goes on from it."""
    assert final(P, [P, Q._replace(state=TIMED_OUT, counts=Counts(output=60))]) == Counts(output=60)
