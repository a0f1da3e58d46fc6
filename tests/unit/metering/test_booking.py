"""Which payer covered which kinds, from the final counts and what was held."""

import pytest

from metering_service.domain.counts import Counts, beyond, up_to
from metering_service.domain.overrun import overrun
from metering_service.domain.payer_split import split
from metering_service.domain.pot import HeldUnits
from metering_service.domain.price import Price
from metering_service.domain.receipt import Receipt, held_by, used

PRICE = Price(7, 1_000_000, 500_000, 2_000_000, 5_000_000, 6_000_000)


def payers(receipt: Receipt) -> tuple[Counts, Counts, Counts, Counts]:
    return receipt.reserved, receipt.trial, receipt.billed, receipt.unfunded


EXAMPLES: list[tuple[str, Counts, HeldUnits, tuple[Counts, Counts, Counts, Counts]]] = [
    (
        "a thousand tokens, 300 reserved, 500 of a trial: 200 billed",
        Counts(1_000),
        HeldUnits(1_000, 0, 300, 0, 500, 200, 200),
        (Counts(300), Counts(500), Counts(200), Counts()),
    ),
    (
        "kinds in order: the reservation takes the front of each class, the trial the front of the rest",
        Counts(10, 20, 30, 40, 50),
        HeldUnits(60, 90, 25, 45, 50, 30, 1_000),
        (Counts(10, 15, 0, 40, 5), Counts(0, 5, 30, 0, 15), Counts(0, 0, 0, 0, 30), Counts()),
    ),
    (
        "less was used than held: the end of the sequence is what is not needed",
        Counts(10, output=5),
        HeldUnits(10, 100, 0, 0, 12, 98, 1_000),
        (Counts(), Counts(10, output=2), Counts(output=3), Counts()),
    ),
    (
        "a trial that was held for output covers input that was not held",
        Counts(30, output=10),
        HeldUnits(10, 20, 0, 0, 30, 0, 0),
        (Counts(), Counts(30), Counts(), Counts(output=10)),
    ),
    (
        "a reservation of one class never covers the other",
        Counts(5, output=50),
        HeldUnits(20, 30, 20, 30, 0, 0, 0),
        (Counts(5, output=30), Counts(), Counts(), Counts(output=20)),
    ),
    ("nothing was used", Counts(), HeldUnits(20, 30, 20, 30, 0, 0, 0), (Counts(), Counts(), Counts(), Counts())),
    ("nothing was held", Counts(3, output=4), HeldUnits(), (Counts(), Counts(), Counts(), Counts(3, output=4))),
]


@pytest.mark.parametrize(("counts", "held", "expected"), [pytest.param(*row[1:], id=row[0]) for row in EXAMPLES])
def test_kinds_fall_to_payers_in_order(
    counts: Counts, held: HeldUnits, expected: tuple[Counts, Counts, Counts, Counts]
) -> None:
    """Reserved, trial, billed and unfunded add up to the usage, kind by kind."""
    receipt = split(counts, held, PRICE, debt_allowed=False)
    assert payers(receipt) == expected
    assert receipt.reserved + receipt.trial + receipt.billed + receipt.unfunded == receipt.usage == counts
    assert receipt.cost_nanos == PRICE.cost_nanos(receipt.billed)
    assert (receipt.debt_nanos, receipt.price_version) == (0, 7)


def test_what_nothing_covers_is_debt_where_that_is_allowed() -> None:
    """It is billed, and the part of its cost that no money was held for is owed."""
    held = HeldUnits(10, 10, billed_tokens=20, money_nanos=60)
    receipt = split(Counts(10, output=30), held, PRICE, debt_allowed=True)
    assert payers(receipt) == (Counts(), Counts(), Counts(10, output=30), Counts())
    assert (receipt.cost_nanos, receipt.debt_nanos) == (160, 100)


def test_without_debt_no_more_is_billed_than_money_was_held() -> None:
    """Dearer tokens than the held ones take as many as the money carries; the others are nobody's."""
    held = HeldUnits(10, 10, billed_tokens=20, money_nanos=10 * 2 + 10 * 6)
    receipt = split(Counts(cache_write=10, output=0, reasoning=20), held, PRICE, debt_allowed=False)
    assert payers(receipt)[2:] == (Counts(cache_write=10, reasoning=10), Counts(reasoning=10))
    dear_input = split(Counts(cache_write=60), held, PRICE, debt_allowed=False)
    assert payers(dear_input)[2:] == (Counts(cache_write=20), Counts(cache_write=40))
    dear_output = split(Counts(reasoning=20), held, PRICE, debt_allowed=False)
    assert payers(dear_output)[2:] == (Counts(reasoning=13), Counts(reasoning=7))
    assert dear_output.cost_nanos == 78
    assert dear_output.debt_nanos == 0


def test_what_remains_held_is_what_was_used() -> None:
    """Settled, a request holds exactly its receipt: splitting its counts again gives the same."""
    held = HeldUnits(60, 90, 25, 45, 50, 30, 1_000)
    receipt = split(Counts(10, 20, 30, 40, 45), held, PRICE, debt_allowed=False)
    again = held_by(receipt)
    assert split(receipt.usage, again, PRICE, debt_allowed=False) == receipt
    assert used(receipt) == (25, 45, 50, receipt.cost_nanos)
    assert (again.reserved_input_tokens, again.reserved_output_tokens, again.trial_tokens) == (25, 45, 50)


@pytest.mark.parametrize(
    ("usage", "held", "granted_output_tokens", "tokens"),
    [
        (Counts(10, output=20), HeldUnits(10, 20), 20, 0),
        (Counts(10, output=5), HeldUnits(10, 20), 20, 0),
        (Counts(10, output=21), HeldUnits(10, 20), 20, 1),
        (Counts(10, output=30), HeldUnits(10, 30), 20, 10),
        (Counts(15, output=20), HeldUnits(15, 20), 20, 0),
        (Counts(15, output=20), HeldUnits(12, 20), 20, 3),
        (Counts(15, output=21), HeldUnits(12, 20), 20, 4),
    ],
)
def test_overrun_is_output_beyond_the_grant_and_input_without_a_payer(
    usage: Counts, held: HeldUnits, granted_output_tokens: int, tokens: int
) -> None:
    """Output beyond its ceiling is overrun even if it was paid for in the end; input only if it was not."""
    assert overrun(usage, held, granted_output_tokens) == tokens


def test_a_successor_books_what_lies_beyond() -> None:
    """The front of each class is the predecessor's; the two together are the whole."""
    counts = Counts(10, 20, 30, 40, 50)
    assert beyond(counts, 15, 60) == Counts(0, 15, 30, 0, 30)
    assert up_to(counts, 15, 60) == Counts(10, 5, 0, 40, 20)
    assert beyond(counts, 1_000, 0) == Counts(output=40, reasoning=50)
    assert up_to(counts, 0, 1_000) == Counts(output=40, reasoning=50)
