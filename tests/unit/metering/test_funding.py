"""Who pays for tokens that are to be held: the order, exact limits, and whom to ask before anybody is passed over."""

import pytest

from metering_service.domain.funding import (
    MONEY,
    NOTHING,
    RESERVATION_INPUT,
    RESERVATION_OUTPUT,
    TRIAL,
    Extension,
    Offer,
    Offers,
    Want,
    extend,
    required_money,
)
from metering_service.domain.pot import HeldUnits
from metering_service.domain.price import NO_PRICE, Price

NANO_EACH = Price(1, input=1_000_000, output=1_000_000)
FREE = Price(1)
DEAR_OUTPUT = Price(1, input=1_000_000, output=5_000_000)
NONE_HELD = HeldUnits()


def left(units: int) -> Offer:
    """So much is at hand, and the control service has no more."""
    return Offer(units, exhausted=True)


def some(units: int) -> Offer:
    """So much is at hand, and there may be more."""
    return Offer(units, exhausted=False)


def test_a_thousand_tokens_meet_reservation_and_trial() -> None:
    """300 reserved and 500 of a trial leave 200 to be billed, exact to the token."""
    offers = Offers(left(300), NOTHING, left(500), some(1_000_000))
    held = extend(NONE_HELD, 1_000, 0, offers, NANO_EACH).held
    assert held == HeldUnits(
        input_tokens=1_000, reserved_input_tokens=300, trial_tokens=500, billed_tokens=200, money_nanos=200
    )


def test_classes_have_reservations_of_their_own() -> None:
    """What is reserved for output pays for no input, and the other way round."""
    offers = Offers(left(10), left(20), left(5), some(1_000))
    held = extend(NONE_HELD, 50, 50, offers, NANO_EACH).held
    assert (held.reserved_input_tokens, held.reserved_output_tokens) == (10, 20)
    assert (held.trial_tokens, held.billed_tokens, held.money_nanos) == (5, 65, 65)


@pytest.mark.parametrize(
    ("offers", "want"),
    [
        (Offers(some(10), left(0), left(900), left(900)), Want(RESERVATION_INPUT, 100)),
        (Offers(left(10), some(0), some(20), left(900)), Want(TRIAL, 110)),
        (Offers(left(10), some(0), left(20), some(30)), Want(MONEY, 90)),
        (Offers(left(100), some(5), some(900), some(900)), Want(RESERVATION_OUTPUT, 20)),
        (Offers(left(100), left(5), some(9), some(900)), Want(TRIAL, 15)),
        (Offers(left(100), left(5), left(9), some(2)), Want(MONEY, 6)),
        (Offers(left(100), left(5), left(9), left(2)), None),
        (Offers(left(100), left(5), left(9), left(6)), None),
    ],
)
def test_no_payer_is_passed_over_unless_it_is_confirmed_empty(offers: Offers, want: Want | None) -> None:
    """The walk stops at the first payer that may have more, and says how much of it must be free in all."""
    extension = extend(NONE_HELD, 100, 20, offers, NANO_EACH)
    assert extension.want == want
    passed = {
        RESERVATION_INPUT: extension.held.trial_tokens + extension.held.billed_tokens,
        TRIAL: extension.held.billed_tokens,
    }
    if want is not None:
        assert passed.get(want.kind, 0) == 0


@pytest.mark.parametrize(("money_nanos", "output_tokens"), [(99, 0), (100, 0), (104, 0), (105, 1), (149, 9), (150, 10)])
def test_money_covers_to_the_last_nano(money_nanos: int, output_tokens: int) -> None:
    """Exactly the limit is enough, one nano below is one token less, and more than is wanted is left alone."""
    extension = extend(NONE_HELD, 100, 10, Offers(money=left(money_nanos)), DEAR_OUTPUT)
    assert extension.held.input_tokens == min(100, money_nanos)
    assert extension.held.output_ceiling_tokens == output_tokens
    assert extension.held.money_nanos == extension.held.input_tokens + 5 * output_tokens
    assert extension.want is None


@pytest.mark.parametrize(("trial", "ceiling"), [(99, 0), (100, 0), (101, 1), (110, 10), (111, 10)])
def test_a_trial_covers_to_the_last_token(trial: int, ceiling: int) -> None:
    """Input comes first; output gets what is left of the trial."""
    held = extend(NONE_HELD, 100, 10, Offers(trial=left(trial)), NANO_EACH).held
    assert held == HeldUnits(min(trial, 100), ceiling, trial_tokens=min(trial, 110))


def test_fractions_of_a_nano_are_not_lost() -> None:
    """A price of a third of a nano: one nano carries five tokens, since six would cost two."""
    third = Price(1, input=333_334)
    assert extend(NONE_HELD, 9, 0, Offers(money=left(1)), third).held.input_tokens == 5
    assert extend(NONE_HELD, 9, 0, Offers(money=left(2)), third).held.input_tokens == 8


def test_tokens_that_cost_nothing_need_a_payer_all_the_same() -> None:
    """Pay-as-you-go at price zero needs no money at hand; without pay-as-you-go nobody pays, after a trial neither."""
    assert extend(NONE_HELD, 100, 10, Offers(money=some(0)), FREE).held.billed_tokens == 110
    assert extend(NONE_HELD, 100, 10, Offers(money=left(0)), FREE).held.billed_tokens == 110
    assert extend(NONE_HELD, 100, 10, Offers(trial=left(30)), FREE).held == HeldUnits(30, 0, trial_tokens=30)
    cheap = Price(1, input=300_000, output=300_000)
    assert extend(NONE_HELD, 100, 10, Offers(trial=left(30)), cheap).held == HeldUnits(30, 0, trial_tokens=30)


def test_less_than_is_held_changes_nothing() -> None:
    """An extension never gives back."""
    held = HeldUnits(100, 50, trial_tokens=100, billed_tokens=50, money_nanos=50)
    extension = extend(held, 10, 10, Offers(trial=some(0), money=some(0)), NANO_EACH)
    assert extension.held is held
    assert extension.want is None


def test_late_input_pushes_output_from_the_trial_onto_money() -> None:
    """The trial covers the front of the kinds: money for one more of input pays for the output that it displaces."""
    held = HeldUnits(0, 100, trial_tokens=100)
    assert extend(held, 10, 0, Offers(money=left(49)), DEAR_OUTPUT).held.input_tokens == 9
    extended = extend(held, 10, 0, Offers(money=left(50)), DEAR_OUTPUT).held
    assert (extended.input_tokens, extended.billed_tokens, extended.money_nanos) == (10, 10, 50)
    further = extend(HeldUnits(0, 5, trial_tokens=5), 10, 0, Offers(money=left(31)), DEAR_OUTPUT).held
    assert (further.input_tokens, further.money_nanos) == (10, 30)


def test_a_trial_that_comes_after_money_needs_money_for_what_it_displaces() -> None:
    """Trial tokens that come back cover the front: money is left with the end, ten of output, which are dearer."""
    held = HeldUnits(10, 0, billed_tokens=10, money_nanos=10)
    plenty = extend(held, 10, 30, Offers(trial=left(30), money=left(1_000)), DEAR_OUTPUT).held
    assert (plenty.trial_tokens, plenty.billed_tokens, plenty.money_nanos) == (30, 10, 50)
    scarce = extend(held, 10, 30, Offers(trial=left(30), money=left(11)), DEAR_OUTPUT)
    assert (scarce.held.trial_tokens, scarce.held.money_nanos, scarce.want) == (2, 18, None)
    may_have_more = extend(held, 10, 30, Offers(trial=some(30), money=some(11)), DEAR_OUTPUT)
    assert may_have_more.want == Want(MONEY, required_money(may_have_more.held, DEAR_OUTPUT) - 10 + 28 * 5)
    cheaper = extend(held, 10, 30, Offers(trial=left(30)), Price(1, input=5_000_000, output=1_000_000)).held
    assert (cheaper.trial_tokens, cheaper.money_nanos) == (30, 10)


def test_what_is_settled_may_be_extended_by_a_trial_without_money() -> None:
    """Once settled, money is set aside for the kinds as they were, not for the dearest: that is no gap to fill."""
    kinds = Price(1, input=5_000_000, cached_input=1_000_000, output=5_000_000)
    settled = HeldUnits(10, 0, billed_tokens=10, money_nanos=10)
    extended = extend(settled, 14, 0, Offers(trial=left(4)), kinds).held
    assert (extended.input_tokens, extended.trial_tokens, extended.money_nanos) == (14, 4, 10)


@pytest.mark.parametrize("money", [some(10**9), left(10**9), some(0)])
def test_without_a_price_money_covers_nothing(money: Offer) -> None:
    """What a token costs is not known, and absent is not free: not by one payer, not at the end of several."""
    assert extend(NONE_HELD, 100, 10, Offers(money=money), NO_PRICE) == Extension(NONE_HELD, None)
    after_trial = extend(NONE_HELD, 100, 10, Offers(trial=left(30), money=money), NO_PRICE)
    assert after_trial == Extension(HeldUnits(30, 0, trial_tokens=30), None)
    reserved = Offers(reserved_input=left(40), reserved_output=left(5), money=money)
    assert extend(NONE_HELD, 100, 10, reserved, NO_PRICE).held == HeldUnits(40, 0, 40)
