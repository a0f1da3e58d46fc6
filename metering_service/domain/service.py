"""A service as this node knows it, and what its status means for a request."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final

from metering_service.domain.decision import Reason
from metering_service.domain.price import NO_PRICE, Price

WHOLE_OUTPUT_TOKENS_DEFAULT: Final = 4_096


class Status(Enum):
    """As the control service derived it; UNKNOWN and DELETED stand for services that are not there."""

    UNKNOWN = 0
    DELETED = 1
    NOT_ENABLED = 2
    ACTIVATING = 3
    RUNNING = 4
    STOPPED = 5


class StopReason(StrEnum):
    """Why a service is stopped. Named in the order in which a denial picks one of several."""

    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    MODEL_RETIRED = "MODEL_RETIRED"
    SUSPENDED = "SUSPENDED"
    POSTPAID_DISABLED = "POSTPAID_DISABLED"
    ACCOUNT_OVERDUE = "ACCOUNT_OVERDUE"
    NO_PRICE = "NO_PRICE"
    TRIAL_EXPIRED = "TRIAL_EXPIRED"
    TRIAL_EXHAUSTED = "TRIAL_EXHAUSTED"
    RESERVATION_ENDED = "RESERVATION_ENDED"


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What the control service says of one service.

    `outage_tokens_max`: for how many tokens it goes on when this node is cut off and its leases have lapsed; 0: none.
    `output_tokens_max`: the most that one answer can have; 0: not known. `whole_output_tokens_default`: what is held
    for an answer that comes as a whole and names no limit. `team`: id of the team that it belongs to; empty for none.
    `model`: resource name of the model. `requires_key`: requests without an API key are refused. `shared`: keys of all
    teams of the account may use it. `exempt_from_model_rules`: the rate rules of its model spare it.
    """

    name: str
    status: Status
    uid: str = ""
    stop_reasons: frozenset[StopReason] = field(default_factory=frozenset)
    reservation_pays: bool = False
    trial_pays: bool = False
    postpaid_pays: bool = False
    debt_allowed: bool = False
    price: Price = NO_PRICE
    smallest_request_tokens: int = 16
    output_tokens_max: int = 0
    whole_output_tokens_default: int = WHOLE_OUTPUT_TOKENS_DEFAULT
    reserved_input_tpm: int = 0
    reserved_output_tpm: int = 0
    outage_tokens_max: int = 0
    team: str = ""
    version: int = 0
    model: str = ""
    exempt_from_model_rules: bool = False
    requires_key: bool = False
    shared: bool = False

    def refusal(self) -> Reason | None:
        """Why no request of this service may run now; None if one may.

        ACTIVATING passes: a node that has the activation can honour it, and acknowledging it is what ends that status.
        """
        if self.status is Status.RUNNING or self.status is Status.ACTIVATING:
            return None
        if self.status is Status.NOT_ENABLED:
            return Reason.NOT_ENABLED
        if self.status is Status.STOPPED:
            first = next((reason for reason in StopReason if reason in self.stop_reasons), StopReason.SUSPENDED)
            return Reason[first.value]
        return Reason.UNKNOWN_SERVICE


def account_of(service: str) -> str:
    """The account, `accounts/{account}`, that a service's name begins with."""
    return "/".join(service.split("/", 2)[:2])
