"""A service's status, over every combination of facts, against the rules as the domain page states them."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from control_service.domain.account import OverduePolicy
from control_service.domain.status import BillingMode, Facts, PostpaidState, Status, StopReason, derive_status

# Each rule as one sentence of the page, over plain facts, without any of the product's own helpers.
HOLDS: dict[StopReason, Callable[[Facts], bool]] = {
    # The user switched postpaid off.
    StopReason.POSTPAID_DISABLED: lambda f: f.postpaid == "DISABLED",
    # The trial was used up, postpaid is not enabled, no reservation is active.
    StopReason.TRIAL_EXHAUSTED: lambda f: all(
        (f.trial_claimed, f.trial_exhausted, f.postpaid != "ENABLED", not f.reservation_active)
    ),
    # The trial ran out of time, postpaid is not enabled, no reservation is active.
    StopReason.TRIAL_EXPIRED: lambda f: all(
        (f.trial_claimed, f.trial_expired, f.postpaid != "ENABLED", not f.reservation_active)
    ),
    # The last reservation ended, no usable trial, postpaid never enabled.
    StopReason.RESERVATION_ENDED: lambda f: all(
        (
            f.reservation_bought,
            not f.reservation_active,
            not f.trial_claimed or f.trial_exhausted or f.trial_expired,
            f.postpaid == "NEVER_ENABLED",
        )
    ),
    # The account is overdue and postpaid is enabled on the service; the policy may spare those that are funded.
    StopReason.ACCOUNT_OVERDUE: lambda f: all(
        (
            f.account_overdue,
            f.postpaid == "ENABLED",
            f.overdue_policy == "STOP_ALL"
            or not (f.reservation_active or (f.trial_claimed and not f.trial_exhausted and not f.trial_expired)),
        )
    ),
    # An operator suspended it.
    StopReason.SUSPENDED: lambda f: f.suspended,
    # An operator retired its model.
    StopReason.MODEL_RETIRED: lambda f: f.model_retired,
    # An operator closed its account.
    StopReason.ACCOUNT_CLOSED: lambda f: f.account_closed,
    # Money would have to pay, and nobody can say how much.
    StopReason.NO_PRICE: lambda f: all(
        (
            f.postpaid == "ENABLED",
            not f.price_in_force,
            not f.reservation_active,
            not f.trial_claimed or f.trial_exhausted or f.trial_expired,
        )
    ),
}

SHOWN: dict[BillingMode, Callable[[Facts], bool]] = {
    BillingMode.FREE_TRIAL: lambda f: all((f.trial_claimed, not f.trial_exhausted, not f.trial_expired)),
    BillingMode.PAY_AS_YOU_GO: lambda f: f.postpaid == "ENABLED",
    BillingMode.TPM_RESERVATION: lambda f: f.reservation_active,
}


def combinations() -> Iterator[Facts]:
    """Every combination of facts that can be: only what was claimed runs out, only what was bought is active."""
    booleans = (False, True)
    trials = [(False, False, False), *((True, *rest) for rest in itertools.product(booleans, booleans))]
    reservations = [(False, False), (True, False), (True, True)]
    states = itertools.product(trials, reservations, PostpaidState, booleans, OverduePolicy)
    rest = list(itertools.product(booleans, repeat=6))
    for (trial, reservation, postpaid, overdue, policy), flags in itertools.product(states, rest):
        suspended, told, deleted, priced, retired, closed = flags
        yield Facts(*trial, postpaid, *reservation, overdue, policy, suspended, told, deleted, priced, retired, closed)


def expected_status(facts: Facts, reasons: frozenset[StopReason]) -> Status:
    never_started = not (facts.trial_claimed or facts.reservation_bought or facts.postpaid != "NEVER_ENABLED")
    in_this_order = [
        (never_started, Status.NOT_ENABLED),
        (facts.deleted or bool(reasons), Status.STOPPED),
        (not facts.fleet_told, Status.ACTIVATING),
        (True, Status.RUNNING),
    ]
    return next(status for holds, status in in_this_order if holds)


def test_every_combination_of_facts() -> None:
    """Status, stop reasons and billing modes are what the page says, for each of the 11,520 combinations of facts."""
    everything = list(combinations())
    assert len(everything) == 5 * 3 * 3 * 2 * 2 * 2**6
    for facts in everything:
        reasons = frozenset(reason for reason, holds in HOLDS.items() if holds(facts) and not facts.deleted)
        modes = frozenset(mode for mode, shown in SHOWN.items() if shown(facts) and not facts.deleted)
        derived = derive_status(facts)
        assert derived.stop_reasons == reasons, facts
        assert derived.billing_modes == (modes or {BillingMode.NONE}), facts
        assert derived.status is expected_status(facts, reasons), facts


ENABLED, DISABLED = PostpaidState.ENABLED, PostpaidState.DISABLED
NONE, TRIAL, POSTPAID, RESERVATION = (
    BillingMode.NONE,
    BillingMode.FREE_TRIAL,
    BillingMode.PAY_AS_YOU_GO,
    BillingMode.TPM_RESERVATION,
)


@pytest.mark.parametrize(
    ("facts", "status", "reasons", "modes"),
    [
        pytest.param({}, "NOT_ENABLED", [], [NONE], id="nobody has started it"),
        pytest.param({"suspended": True}, "NOT_ENABLED", ["SUSPENDED"], [NONE], id="suspended before it was started"),
        pytest.param({"trial_claimed": True}, "RUNNING", [], [TRIAL], id="on its trial"),
        pytest.param({"trial_claimed": True, "fleet_told": False}, "ACTIVATING", [], [TRIAL], id="just started"),
        pytest.param(
            {"trial_claimed": True, "postpaid": ENABLED}, "RUNNING", [], [TRIAL, POSTPAID], id="enabled in advance"
        ),
        pytest.param(
            {"trial_claimed": True, "postpaid": DISABLED},
            "STOPPED",
            ["POSTPAID_DISABLED"],
            [TRIAL],
            id="switched off although trial tokens remain",
        ),
        pytest.param(
            {"reservation_bought": True, "reservation_active": True, "postpaid": DISABLED},
            "STOPPED",
            ["POSTPAID_DISABLED"],
            [RESERVATION],
            id="switched off although a reservation remains",
        ),
        pytest.param(
            {"trial_claimed": True, "trial_exhausted": True}, "STOPPED", ["TRIAL_EXHAUSTED"], [NONE], id="used up"
        ),
        pytest.param(
            {"trial_claimed": True, "trial_exhausted": True, "postpaid": ENABLED},
            "RUNNING",
            [],
            [POSTPAID],
            id="used up, and postpaid pays",
        ),
        pytest.param(
            {"trial_claimed": True, "trial_exhausted": True, "postpaid": DISABLED},
            "STOPPED",
            ["POSTPAID_DISABLED", "TRIAL_EXHAUSTED"],
            [NONE],
            id="used up and switched off",
        ),
        pytest.param(
            {"trial_claimed": True, "trial_expired": True, "reservation_bought": True, "reservation_active": True},
            "RUNNING",
            [],
            [RESERVATION],
            id="out of time, and a reservation pays",
        ),
        pytest.param(
            {"reservation_bought": True}, "STOPPED", ["RESERVATION_ENDED"], [NONE], id="the last reservation ended"
        ),
        pytest.param(
            {"reservation_bought": True, "trial_claimed": True}, "RUNNING", [], [TRIAL], id="ended, the trial pays"
        ),
        pytest.param(
            {"reservation_bought": True, "postpaid": DISABLED},
            "STOPPED",
            ["POSTPAID_DISABLED"],
            [NONE],
            id="ended, and postpaid was switched off: one remedy, one reason",
        ),
        pytest.param(
            {"postpaid": ENABLED, "account_overdue": True}, "STOPPED", ["ACCOUNT_OVERDUE"], [POSTPAID], id="overdue"
        ),
        pytest.param(
            {"trial_claimed": True, "account_overdue": True}, "RUNNING", [], [TRIAL], id="overdue, not on postpaid"
        ),
        pytest.param(
            {"postpaid": ENABLED, "trial_claimed": True, "account_overdue": True},
            "STOPPED",
            ["ACCOUNT_OVERDUE"],
            [TRIAL, POSTPAID],
            id="overdue stops even what is funded",
        ),
        pytest.param(
            {
                "postpaid": ENABLED,
                "trial_claimed": True,
                "account_overdue": True,
                "overdue_policy": OverduePolicy.KEEP_FUNDED,
            },
            "RUNNING",
            [],
            [TRIAL, POSTPAID],
            id="unless the account's policy spares it",
        ),
        pytest.param(
            {"postpaid": ENABLED, "account_overdue": True, "suspended": True},
            "STOPPED",
            ["ACCOUNT_OVERDUE", "SUSPENDED"],
            [POSTPAID],
            id="reasons are a set",
        ),
        pytest.param(
            {"postpaid": ENABLED, "price_in_force": False}, "STOPPED", ["NO_PRICE"], [POSTPAID], id="no price"
        ),
        pytest.param(
            {"postpaid": ENABLED, "price_in_force": False, "trial_claimed": True},
            "RUNNING",
            [],
            [TRIAL, POSTPAID],
            id="no price is needed while a trial pays",
        ),
        pytest.param({"postpaid": ENABLED, "deleted": True}, "STOPPED", [], [NONE], id="deleted"),
    ],
)
def test_rows_of_the_page(facts: dict[str, bool], status: str, reasons: list[str], modes: list[BillingMode]) -> None:
    """What a reader of the page expects of the cases that it names."""
    derived = derive_status(Facts(**{"fleet_told": True, **facts}))  # type: ignore[arg-type]  # facts by name
    assert derived.status == status
    assert derived.stop_reasons == set(reasons)
    assert derived.billing_modes == set(modes)


def test_a_top_up_never_restarts_what_its_user_switched_off() -> None:
    """Whether the account is overdue makes no difference to a service that is switched off."""
    for facts in combinations():
        if facts.postpaid is DISABLED and not facts.deleted:
            assert StopReason.POSTPAID_DISABLED in derive_status(facts).stop_reasons
            assert StopReason.ACCOUNT_OVERDUE not in derive_status(facts).stop_reasons
