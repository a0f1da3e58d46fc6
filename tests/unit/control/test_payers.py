"""Who pays for a service's tokens, and whether what nobody pays for becomes debt."""

from dataclasses import replace

import pytest

from control_service.domain.account import Account, OverduePolicy
from control_service.domain.payers import payers_of
from control_service.domain.pot import PotKind
from control_service.domain.reservation import Reserved
from control_service.domain.service import Service, ServiceKind
from control_service.domain.status import PostpaidState
from control_service.domain.trial import Trial

ACCOUNT = Account("acme", "account-uid", "", "USD", 0, 0, OverduePolicy.STOP_ALL, create_us=0, update_us=0)
TRIAL = Trial(quota_tokens=1_000, smallest_tokens=16, claim_us=0)
SERVICE = Service(
    "acme", "chat", "uid", "llama", ServiceKind.CUSTOM, trial=TRIAL, postpaid=PostpaidState.ENABLED, reservation_count=1
)
RESERVED = Reserved(output_tokens_per_minute=100, next_end_us=10)


def test_each_payer_pays_while_it_can() -> None:
    """A reservation by the classes that it has, a trial while it is usable, money while the account is not overdue."""
    payers = payers_of(SERVICE, ACCOUNT, RESERVED, 0, price_in_force=True)
    assert (payers.reservation, payers.trial, payers.postpaid, payers.debt_allowed) == (True, True, True, True)
    assert payers.pays(PotKind.RESERVATION_OUTPUT)
    assert not payers.pays(PotKind.RESERVATION_INPUT)
    overdue = payers_of(SERVICE, replace(ACCOUNT, overdue_us=1), RESERVED, 0, price_in_force=True)
    assert (overdue.postpaid, overdue.debt_allowed) == (False, True)


@pytest.mark.parametrize("postpaid", list(PostpaidState))
def test_beyond_a_reservation_that_refuses_nothing_is_charged(postpaid: PostpaidState) -> None:
    """Not from money, and not as debt, whatever the switch says."""
    refusing = replace(RESERVED, refuses_overflow=True)
    payers = payers_of(replace(SERVICE, postpaid=postpaid), ACCOUNT, refusing, 0, price_in_force=True)
    assert (payers.reservation, payers.trial, payers.postpaid, payers.debt_allowed) == (True, True, False, False)


def test_nothing_pays_for_what_is_deleted() -> None:
    """Nor is anybody in debt for it: what was authorised before brings its own terms along."""
    payers = payers_of(replace(SERVICE, delete_us=1), ACCOUNT, Reserved(), 0, price_in_force=True)
    assert (payers.reservation, payers.trial, payers.postpaid, payers.debt_allowed) == (False, False, False, False)


def test_without_a_price_in_force_money_pays_for_nothing() -> None:
    """The other payers do. Nodes still know that money would have to pay, so that a denial names what is missing."""
    payers = payers_of(SERVICE, ACCOUNT, RESERVED, 0, price_in_force=False)
    assert (payers.reservation, payers.trial, payers.postpaid, payers.debt_allowed) == (True, True, False, True)
