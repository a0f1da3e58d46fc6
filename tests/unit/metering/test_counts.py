"""How reports of one request merge, whatever the order in which they come."""

from itertools import permutations

import pytest

from metering_service.domain.counts import Counts, Tally

PROGRESS, ESTIMATE = {"finish": False}, {"finish": False, "estimated": True}
FINISH, ESTIMATED_FINISH = {"finish": True}, {"finish": True, "estimated": True}
Said = tuple[Counts, dict[str, bool]]

EXAMPLES: list[tuple[str, list[Said], Counts]] = [
    ("nothing was said", [], Counts()),
    ("counts grow", [(Counts(100), PROGRESS), (Counts(100, output=40), PROGRESS)], Counts(100, output=40)),
    (
        "each class takes its own greatest total",
        [(Counts(100, output=7), PROGRESS), (Counts(90, output=40), PROGRESS)],
        Counts(100, output=40),
    ),
    (
        "an exact finish replaces all else, in both classes",
        [(Counts(100, output=40), PROGRESS), (Counts(90, output=45), ESTIMATE), (Counts(80, output=30), FINISH)],
        Counts(80, output=30),
    ),
    (
        "an exact finish of nothing replaces all else, too",
        [(Counts(100, output=40), ESTIMATE), (Counts(), FINISH)],
        Counts(),
    ),
    (
        "an exact finish replaces a greater one that is estimated",
        [(Counts(100, output=40), ESTIMATED_FINISH), (Counts(100, output=30), FINISH)],
        Counts(100, output=30),
    ),
    (
        "of two exact finishes the greater total holds, in each class",
        [(Counts(100, output=30), FINISH), (Counts(90, output=35), FINISH)],
        Counts(100, output=35),
    ),
    (
        "an estimated finish takes nothing back",
        [(Counts(100, output=40), PROGRESS), (Counts(100, output=30), ESTIMATED_FINISH)],
        Counts(100, output=40),
    ),
    (
        "estimates and counts merge by maximum",
        [(Counts(100, output=40), ESTIMATE), (Counts(110, output=30), PROGRESS)],
        Counts(110, output=40),
    ),
    (
        "of equal class totals the finish knows the kinds",
        [(Counts(100), PROGRESS), (Counts(20, 80), ESTIMATED_FINISH)],
        Counts(20, 80),
    ),
    (
        "a finish knows the kinds even where a later progress report has the greater total of all",
        [(Counts(20, 80), ESTIMATED_FINISH), (Counts(100, output=5), PROGRESS)],
        Counts(20, 80, output=5),
    ),
    (
        "without a finish the report with the greatest total knows the kinds",
        [(Counts(100, output=1), PROGRESS), (Counts(30, 60, 10, output=2), PROGRESS)],
        Counts(30, 60, 10, output=2),
    ),
    (
        "output and reasoning make one class",
        [(Counts(output=10, reasoning=5), PROGRESS), (Counts(output=16), PROGRESS)],
        Counts(output=16),
    ),
]


@pytest.mark.parametrize(("reports", "merged"), [pytest.param(*row[1:], id=row[0]) for row in EXAMPLES])
def test_reports_merge_in_any_order(reports: list[Said], merged: Counts) -> None:
    """What is said exactly, else class totals by maximum, kinds from whoever knows best; order changes nothing."""
    for order in permutations(reports):
        tally = Tally()
        for counts, said in [*order, *order]:
            tally = tally.merge(Tally.of(counts, **said))
        assert tally.counts == merged


@pytest.mark.parametrize(
    ("reports", "estimated"),
    [
        pytest.param([(Counts(5), ESTIMATE)], True, id="an estimate"),
        pytest.param([(Counts(5), ESTIMATE), (Counts(5), PROGRESS)], False, id="as many were counted"),
        pytest.param([(Counts(5), ESTIMATE), (Counts(4, output=9), PROGRESS)], True, id="the input is an estimate"),
        pytest.param([(Counts(5), ESTIMATE), (Counts(6), PROGRESS)], False, id="more were counted"),
        pytest.param([(Counts(5), PROGRESS), (Counts(6), ESTIMATED_FINISH)], True, id="the finish is an estimate"),
        pytest.param([(Counts(7), ESTIMATE), (Counts(6), FINISH)], False, id="the finish is exact"),
    ],
)
def test_it_is_an_estimate_if_what_holds_was_one(reports: list[Said], *, estimated: bool) -> None:
    """Of either class."""
    for order in permutations(reports):
        tally = Tally()
        for counts, said in order:
            tally = tally.merge(Tally.of(counts, **said))
        assert tally.estimated is estimated


def test_classes_and_total_add_up() -> None:
    """The kinds are disjoint: three of input, two of output."""
    counts = Counts(1, 2, 4, 8, 16)
    assert (counts.input_class, counts.output_class, counts.total) == (7, 24, 31)
    assert counts - Counts(1, 2, 4, 8, 16) == Counts()
    assert counts + counts == Counts(2, 4, 8, 16, 32)
