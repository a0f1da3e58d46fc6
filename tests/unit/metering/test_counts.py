"""How reports of one request merge, whatever the order in which they come."""

from itertools import permutations

import pytest

from metering_service.domain.counts import Counts, Tally

EXAMPLES: list[tuple[str, list[tuple[Counts, bool]], Counts]] = [
    ("nothing was said", [], Counts()),
    ("counts grow", [(Counts(100), False), (Counts(100, output=40), False)], Counts(100, output=40)),
    (
        "each class takes its own greatest total",
        [(Counts(100, output=7), False), (Counts(90, output=40), False)],
        Counts(100, output=40),
    ),
    (
        "a class total never shrinks, not even by a finish",
        [(Counts(100, output=40), False), (Counts(100, output=30), True)],
        Counts(100, output=40),
    ),
    (
        "of equal class totals the finish knows the kinds",
        [(Counts(100), False), (Counts(20, 80), True)],
        Counts(20, 80),
    ),
    (
        "a finish knows the kinds even where a later progress report has the greater total of all",
        [(Counts(20, 80), True), (Counts(100, output=5), False)],
        Counts(20, 80, output=5),
    ),
    (
        "without a finish the report with the greatest total knows the kinds",
        [(Counts(100, output=1), False), (Counts(30, 60, 10, output=2), False)],
        Counts(30, 60, 10, output=2),
    ),
    (
        "output and reasoning make one class",
        [(Counts(output=10, reasoning=5), False), (Counts(output=16), False)],
        Counts(output=16),
    ),
]


@pytest.mark.parametrize(("reports", "merged"), [pytest.param(*row[1:], id=row[0]) for row in EXAMPLES])
def test_reports_merge_in_any_order(reports: list[tuple[Counts, bool]], merged: Counts) -> None:
    """Class totals by maximum, kinds from whoever knows best; order and repetition change nothing."""
    for order in permutations(reports):
        tally = Tally()
        for counts, finish in [*order, *order]:
            tally = tally.merge(Tally.of(counts, finish=finish))
        assert tally.counts == merged


def test_classes_and_total_add_up() -> None:
    """The kinds are disjoint: three of input, two of output."""
    counts = Counts(1, 2, 4, 8, 16)
    assert (counts.input_class, counts.output_class, counts.total) == (7, 24, 31)
    assert counts - Counts(1, 2, 4, 8, 16) == Counts()
    assert counts + counts == Counts(2, 4, 8, 16, 32)
