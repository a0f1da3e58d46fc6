"""A service's status: a pure function of facts. Nothing assigns it."""

import enum
from dataclasses import dataclass

from control_service.domain.account import OverduePolicy


class Status(enum.StrEnum):
    """Whether a service takes requests."""

    NOT_ENABLED = "NOT_ENABLED"
    ACTIVATING = "ACTIVATING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"


class StopReason(enum.StrEnum):
    """Why a service is stopped, in the order in which reasons are listed."""

    POSTPAID_DISABLED = "POSTPAID_DISABLED"
    TRIAL_EXHAUSTED = "TRIAL_EXHAUSTED"
    TRIAL_EXPIRED = "TRIAL_EXPIRED"
    RESERVATION_ENDED = "RESERVATION_ENDED"
    ACCOUNT_OVERDUE = "ACCOUNT_OVERDUE"
    SUSPENDED = "SUSPENDED"
    NO_PRICE = "NO_PRICE"
    MODEL_RETIRED = "MODEL_RETIRED"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"


class BillingMode(enum.StrEnum):
    """How a service is billed, in the order in which modes are listed."""

    NONE = "NONE"
    FREE_TRIAL = "FREE_TRIAL"
    PAY_AS_YOU_GO = "PAY_AS_YOU_GO"
    TPM_RESERVATION = "TPM_RESERVATION"


class PostpaidState(enum.StrEnum):
    """The pay-as-you-go switch."""

    NEVER_ENABLED = "NEVER_ENABLED"
    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts that a status depends on, as of one moment."""

    trial_claimed: bool = False
    trial_exhausted: bool = False
    trial_expired: bool = False
    postpaid: PostpaidState = PostpaidState.NEVER_ENABLED
    reservation_bought: bool = False
    reservation_active: bool = False
    account_overdue: bool = False
    overdue_policy: OverduePolicy = OverduePolicy.STOP_ALL
    suspended: bool = False
    fleet_told: bool = False
    deleted: bool = False
    price_in_force: bool = True
    model_retired: bool = False
    account_closed: bool = False

    @property
    def trial_usable(self) -> bool:
        """Whether a trial can still pay."""
        return self.trial_claimed and not self.trial_exhausted and not self.trial_expired

    @property
    def postpaid_enabled(self) -> bool:
        """Whether pay-as-you-go is switched on."""
        return self.postpaid is PostpaidState.ENABLED

    @property
    def started(self) -> bool:
        """Whether anybody ever started the service."""
        return self.trial_claimed or self.postpaid is not PostpaidState.NEVER_ENABLED or self.reservation_bought


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A service's status with its stop reasons and billing modes, derived from its facts."""

    status: Status
    stop_reasons: frozenset[StopReason]
    billing_modes: frozenset[BillingMode]


def derive_status(facts: Facts) -> ServiceStatus:
    """Derives the status from facts. A deleted service is stopped for good: without a reason, so without a remedy."""
    if facts.deleted:
        status = Status.STOPPED if facts.started else Status.NOT_ENABLED
        return ServiceStatus(status, frozenset(), frozenset({BillingMode.NONE}))
    reasons = _stop_reasons(facts)
    return ServiceStatus(_status(facts, reasons), reasons, _billing_modes(facts))


def _status(facts: Facts, reasons: frozenset[StopReason]) -> Status:
    if not facts.started:
        return Status.NOT_ENABLED
    if reasons:
        return Status.STOPPED
    return Status.RUNNING if facts.fleet_told else Status.ACTIVATING


def _stop_reasons(facts: Facts) -> frozenset[StopReason]:
    # Only these two keep a service going whose trial is over while postpaid is off.
    nothing_else_pays = not facts.postpaid_enabled and not facts.reservation_active
    funded = facts.trial_usable or facts.reservation_active
    spared = facts.overdue_policy is OverduePolicy.KEEP_FUNDED and funded
    holds = {
        StopReason.POSTPAID_DISABLED: facts.postpaid is PostpaidState.DISABLED,
        StopReason.TRIAL_EXHAUSTED: facts.trial_claimed and facts.trial_exhausted and nothing_else_pays,
        StopReason.TRIAL_EXPIRED: facts.trial_claimed and facts.trial_expired and nothing_else_pays,
        StopReason.RESERVATION_ENDED: facts.reservation_bought
        and not facts.reservation_active
        and not facts.trial_usable
        and facts.postpaid is PostpaidState.NEVER_ENABLED,
        StopReason.ACCOUNT_OVERDUE: facts.account_overdue and facts.postpaid_enabled and not spared,
        StopReason.SUSPENDED: facts.suspended,
        StopReason.NO_PRICE: facts.postpaid_enabled and not facts.price_in_force and not funded,
        StopReason.MODEL_RETIRED: facts.model_retired,
        StopReason.ACCOUNT_CLOSED: facts.account_closed,
    }
    return frozenset(reason for reason, does in holds.items() if does)


def _billing_modes(facts: Facts) -> frozenset[BillingMode]:
    holds = {
        BillingMode.FREE_TRIAL: facts.trial_usable,
        BillingMode.PAY_AS_YOU_GO: facts.postpaid_enabled,
        BillingMode.TPM_RESERVATION: facts.reservation_active,
    }
    return frozenset(mode for mode, does in holds.items() if does) or frozenset({BillingMode.NONE})
