"""The overdue latch of an account."""

from hypothesis import given
from hypothesis import strategies as st

from control_service.domain.account import Account, OverduePolicy
from control_service.domain.overdue import reassess, starve

amounts = st.integers(min_value=-1_000, max_value=1_000)
positive = st.integers(min_value=0, max_value=1_000)


def account(funds: int, credit: int = 0, leased: int = 0, floor: int = 10, overdue_us: int | None = None) -> Account:
    return Account(
        account_id="acme",
        uid="u",
        display_name="",
        currency_code="USD",
        credit_limit_nanos=credit,
        overdue_floor_nanos=floor,
        overdue_policy=OverduePolicy.STOP_ALL,
        create_us=0,
        update_us=0,
        funds_nanos=funds,
        leased_nanos=leased,
        overdue_us=overdue_us,
    )


def test_little_money_alone_is_not_overdue() -> None:
    """An account below its floor is overdue only once somebody needs money and gets none."""
    assert not reassess(account(funds=9), now_us=5).overdue
    assert starve(account(funds=9), now_us=5).overdue_us == 5


def test_what_may_come_back_keeps_the_latch_open() -> None:
    """While anything is on lease, it could come back, and the account is not overdue yet."""
    assert not starve(account(funds=9, leased=1), now_us=5).overdue
    assert not starve(account(funds=10), now_us=5).overdue


def test_beyond_the_credit_limit_is_overdue_at_once() -> None:
    """A balance below minus the credit limit is overdue, whatever is on lease."""
    assert not reassess(account(funds=-100, credit=100), now_us=5).overdue
    assert reassess(account(funds=-101, credit=100, leased=50), now_us=5).overdue_us == 5


def test_the_floor_clears_it() -> None:
    """A top-up clears the latch when what is available reaches the floor, not before."""
    assert reassess(account(funds=9, overdue_us=1), now_us=5).overdue_us == 1
    assert reassess(account(funds=12, leased=3, overdue_us=1), now_us=5).overdue_us == 1
    assert not reassess(account(funds=13, leased=3, overdue_us=1), now_us=5).overdue


@given(funds=amounts, credit=positive, leased=positive, floor=positive, was=st.none() | st.just(1))
def test_judging_twice_changes_nothing(funds: int, credit: int, leased: int, floor: int, was: int | None) -> None:
    """The rules do not contradict each other: judging twice gives the same, and the first moment stays."""
    once = reassess(account(funds, credit, leased, floor, was), now_us=5)
    assert reassess(once, now_us=6) == once
    assert starve(starve(once, now_us=6), now_us=7) == starve(once, now_us=6)
    assert not (once.overdue and once.available_nanos >= floor)
