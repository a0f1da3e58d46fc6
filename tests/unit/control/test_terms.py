"""Prices, reservations and trials as of a moment."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from control_service.domain.model import ReservationPrice
from control_service.domain.price import Price, next_effective_us, price_in_force
from control_service.domain.reservation import (
    OverflowPolicy,
    Reservation,
    ReservationState,
    ReservationTerms,
    charge_nanos,
    reserved,
)
from control_service.domain.service import Service, ServiceKind, next_due_us
from control_service.domain.trial import Trial

TRIAL = Trial(quota_tokens=100, smallest_tokens=16, claim_us=0, expire_us=50)
SERVICE = Service("acme", "chat", "uid", "llama", ServiceKind.CUSTOM, trial=TRIAL)


def price(version: int, effective_us: int) -> Price:
    return Price("llama", version, effective_us, 1, 1, 1, 1, 1, 0)


def reservation(end_us: int, **changes: object) -> Reservation:
    made = Reservation("acme", "chat", 1, 100, 10, OverflowPolicy.BILL_BY_TOKEN, 0, start_us=0, end_us=end_us)
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def test_the_latest_effective_price_is_in_force() -> None:
    """Of versions in effect the latest to take effect; the higher version where two are equal; or none at all."""
    prices = [price(1, 10), price(2, 30), price(3, 20), price(4, 20)]
    assert price_in_force(prices, 9) is None
    assert price_in_force(prices, 10) == prices[0]
    assert price_in_force(prices, 29) == prices[3]
    assert price_in_force(prices, 30) == prices[1]
    assert next_effective_us(prices, 10) == 20
    assert next_effective_us(prices, 30) is None


def test_a_charge_is_rounded_down_once() -> None:
    """(999 x 1 + 1 x 1) x 3 / 1,000 is 3, not the sum of parts rounded by themselves."""
    terms = ReservationTerms(999, 1, 3, OverflowPolicy.REFUSE)
    assert charge_nanos(ReservationPrice(1, 1), terms) == 3
    assert charge_nanos(ReservationPrice(1, 0), terms) == 2


def test_reservations_add_up_while_they_are_active() -> None:
    """A reservation pays until its end, which is no part of it; a cancelled one does not."""
    several = [reservation(10), reservation(20, overflow_policy=OverflowPolicy.REFUSE), reservation(30, cancelled=True)]
    both, one, none = (reserved(several, now_us) for now_us in (9, 10, 20))
    assert (both.input_tokens_per_minute, both.output_tokens_per_minute, both.next_end_us) == (200, 20, 10)
    assert (one.input_tokens_per_minute, one.refuses_overflow, one.next_end_us) == (100, True, 20)
    assert not none.active
    assert [each.state(15) for each in several] == [
        ReservationState.ENDED,
        ReservationState.ACTIVE,
        ReservationState.CANCELLED,
    ]


def test_a_trial_is_exhausted_below_the_smallest_request() -> None:
    """It is over when less is left than the smallest request, and no open request holds any of it."""
    assert not replace(TRIAL, spent_tokens=84).exhausted
    assert replace(TRIAL, spent_tokens=85).exhausted
    assert not replace(TRIAL, spent_tokens=85, leased_tokens=15, held_tokens=1).exhausted
    assert not TRIAL.expired(49)
    assert TRIAL.expired(50)


@given(st.integers(0, 100), st.integers(0, 100))
def test_the_next_due_moment_is_to_come(now_us: int, end_us: int) -> None:
    """Due is the earliest moment to come at which a trial or a reservation ends; nothing is due on a tombstone."""
    rates = reserved([reservation(end_us)], now_us)
    to_come = [moment for moment in (50, end_us) if moment > now_us]
    assert next_due_us(SERVICE, rates, now_us) == (min(to_come) if to_come else None)
    assert next_due_us(replace(SERVICE, delete_us=1), rates, now_us) is None
