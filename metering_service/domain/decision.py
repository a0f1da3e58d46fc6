"""Decisions: allow or deny, why, and how far."""

from enum import Enum
from typing import NamedTuple

from metering_service.domain.api_key import KeyProblem
from metering_service.domain.rate_status import RateStatus
from metering_service.domain.receipt import Receipt


class Reason(Enum):
    """Why a request may not go on: (retryable, the sentence). Values are distinct by their names' sentences."""

    NOT_ENABLED = (
        False,
        "Nobody has started this service: claim its free trial, enable pay-as-you-go or buy a reservation.",
    )
    ACTIVATING = (True, "This service was started a moment ago and the fleet is still being told: try again.")
    POSTPAID_DISABLED = (
        False,
        "Pay-as-you-go was switched off by the user, which stops this service: enable it again.",
    )
    TRIAL_EXHAUSTED = (False, "The free trial is used up and nothing else pays: enable pay-as-you-go.")
    TRIAL_EXPIRED = (False, "The free trial's time is over and nothing else pays: enable pay-as-you-go.")
    TRIAL_INSUFFICIENT = (False, "This request is larger than what remains of the free trial: a smaller one may pass.")
    BALANCE_INSUFFICIENT = (
        False,
        "This request costs more than the account has available: top it up, or send a smaller one.",
    )
    RESERVATION_EXCEEDED = (True, "This request is beyond the reservation's rate, which is not to be exceeded.")
    RESERVATION_ENDED = (False, "The last reservation ended and nothing else pays: buy again or enable pay-as-you-go.")
    ACCOUNT_OVERDUE = (False, "The account is overdue: top it up, and this service runs again by itself.")
    NO_PRICE = (
        False,
        "Pay-as-you-go would have to pay, and the model has no price in force: publish one, and requests pass again.",
    )
    SUSPENDED = (False, "An operator suspended this service: only an operator can resume it.")
    MODEL_RETIRED = (False, "The model is retired and takes no more requests: use another one.")
    ACCOUNT_CLOSED = (False, "The account is closed: only an operator can open it again.")
    REQUEST_RATE = (True, "Too many requests for now: a rate rule has none left. Try again when it has refilled.")
    TOKEN_RATE = (True, "Too many tokens for now: a rate rule has too few left. Try again when it has refilled.")
    CONCURRENCY = (True, "Too many requests run at once: try again when one of them has ended.")
    BUDGET_EXCEEDED = (
        False,
        "A budget is used up, or has less left than this request needs: raise it, or wait until it begins anew.",
    )
    CREDENTIAL_INVALID = (
        False,
        "The API key is missing, or it is not valid for this request: check the key, and what it may be used for.",
    )
    UNKNOWN_SERVICE = (False, "There is no such service: check its name, accounts/{account}/services/{service}.")
    INVALID_REPORT = (False, "This report is malformed.")
    REQUEST_ID_REUSED = (False, "The request of this id has ended already: every request needs an id of its own.")
    TOO_OLD = (False, "This report is about a request older than ids are remembered: it is not recorded.")
    CONTROL_UNREACHABLE = (True, "The control service did not answer in time, and the leases at hand do not suffice.")
    STORAGE_UNAVAILABLE = (True, "The metering database has not answered for too long: nothing more can be recorded.")
    OVERLOADED = (True, "This node has too much at once.")
    BUDGET_CONTENDED = (True, "What is left is with other requests or nodes, and may come back.")

    @property
    def retryable(self) -> bool:
        """Whether the same report may be allowed later without anybody doing anything."""
        return self.value[0]

    @property
    def sentence(self) -> str:
        """The reason for people."""
        return self.value[1]


class Grant(NamedTuple):
    """How far a request may go: a ceiling on its cumulative output class."""

    output_ceiling_tokens: int
    valid_for_ms: int
    is_final: bool
    resume: bytes


class BudgetStatus(NamedTuple):
    """The budget that refused: tokens, or nanos if `is_money`. `end_us`: when it begins anew; None if never."""

    name: str
    place: str
    amount_units: int
    is_money: bool
    end_us: int | None


class Decision(NamedTuple):
    """The answer to a report. `reason` None means ALLOW."""

    request_id: str
    reason: Reason | None = None
    message: str = ""
    retryable: bool = False
    retry_after_ms: int | None = None
    remaining_tokens: int | None = None
    remaining_nanos: int | None = None
    grant: Grant | None = None
    config_version: int = 0
    receipt: Receipt | None = None
    rate: RateStatus | None = None
    budget: BudgetStatus | None = None
    service: str = ""
    """The service that the API key led to, where the report had left that to the key."""
    key_problem: KeyProblem | None = None
    """Why it is CREDENTIAL_INVALID; it is never sent."""

    @property
    def allowed(self) -> bool:
        """Whether it may go on."""
        return self.reason is None

    @property
    def raises(self) -> bool:
        """Whether it says that a grant was raised and is not the last one, and nothing else."""
        return self.reason is None and self.grant is not None and not self.grant.is_final and self.receipt is None


def deny(
    request_id: str,
    reason: Reason,
    *,
    message: str = "",
    retryable: bool | None = None,
    retry_after_ms: int | None = None,
    remaining_tokens: int | None = None,
    remaining_nanos: int | None = None,
    config_version: int = 0,
    rate: RateStatus | None = None,
    budget: BudgetStatus | None = None,
) -> Decision:
    """A denial, with the reason's own sentence unless another is given."""
    if retryable is None:
        retryable = reason.retryable
    if retryable and retry_after_ms is None:
        retry_after_ms = 100 if reason is Reason.BUDGET_CONTENDED else 1_000
    return Decision(
        request_id,
        reason,
        message or reason.sentence,
        retryable=retryable,
        retry_after_ms=retry_after_ms,
        remaining_tokens=remaining_tokens,
        remaining_nanos=remaining_nanos,
        config_version=config_version,
        rate=rate,
        budget=budget,
    )
