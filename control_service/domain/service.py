"""Inference services: what requests are metered against, and the facts that are kept of each."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from control_service.domain.account import Account
from control_service.domain.names import service_name
from control_service.domain.reservation import Reserved
from control_service.domain.status import (
    BillingMode,
    Facts,
    PostpaidState,
    ServiceStatus,
    Status,
    StopReason,
    derive_status,
)
from control_service.domain.trial import Trial


class ServiceKind(enum.StrEnum):
    """Whether a service exists by itself or was created."""

    DEFAULT = "DEFAULT"
    CUSTOM = "CUSTOM"


class OutagePolicy(enum.StrEnum):
    """What a node that is cut off does with a service's requests when its leases have lapsed."""

    DENY = "DENY"
    CONTINUE = "CONTINUE"


class CredentialPolicy(enum.StrEnum):
    """Whether requests of a service need an API key."""

    OPEN = "OPEN"
    REQUIRED = "REQUIRED"


@dataclass(frozen=True, slots=True)
class Service:
    """One service. `create_us` and `update_us` are None for a default service that nobody has acted on.

    `told_status`, `told_stop_reasons` and `told_billing_modes` are the status as it was last stored, see
    `recorded_status`. `activation_version` is the configuration that first started the service; `fleet_told` latches
    once all live nodes have acknowledged that. `outage_tokens_max` bounds the policy CONTINUE, for each node and
    outage; it is 0 with DENY. `shared`: keys of all teams may use it. `exempt_from_model_rules`: the rate rules of its
    model do not count for it. `model_retired` is read with the service, and kept with its model.
    """

    account_id: str
    service_id: str
    uid: str
    model_id: str
    kind: ServiceKind
    display_name: str = ""
    team: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    trial: Trial | None = None
    postpaid: PostpaidState = PostpaidState.NEVER_ENABLED
    suspended: bool = False
    outage_policy: OutagePolicy = OutagePolicy.DENY
    outage_tokens_max: int = 0
    credential_policy: CredentialPolicy = CredentialPolicy.OPEN
    shared: bool = False
    exempt_from_model_rules: bool = False
    fleet_told: bool = False
    activation_version: int | None = None
    config_version: int = 0
    told_status: Status = Status.NOT_ENABLED
    told_stop_reasons: frozenset[StopReason] = frozenset()
    told_billing_modes: frozenset[BillingMode] = frozenset({BillingMode.NONE})
    reservation_count: int = 0
    event_count: int = 0
    next_due_us: int | None = None
    create_us: int | None = None
    update_us: int | None = None
    delete_us: int | None = None
    model_retired: bool = False

    @property
    def name(self) -> str:
        """`accounts/{account}/services/{service}`."""
        return service_name(self.account_id, self.service_id)

    @property
    def recorded_status(self) -> ServiceStatus:
        """The status that was stored when the service's facts last changed."""
        return ServiceStatus(self.told_status, self.told_stop_reasons, self.told_billing_modes)

    @property
    def deleted(self) -> bool:
        """Whether only the service's tombstone is left."""
        return self.delete_us is not None


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service as of one moment, with its account, the status that is derived from its facts and what is reserved."""

    account: Account
    service: Service
    derived: ServiceStatus
    reserved: Reserved


def facts_of(service: Service, account: Account, reserved: Reserved, now_us: int, *, price_in_force: bool) -> Facts:
    """The facts that the service's status depends on. `price_in_force`: whether its model has a price in force."""
    trial = service.trial
    return Facts(
        trial_claimed=trial is not None,
        trial_exhausted=trial is not None and trial.exhausted,
        trial_expired=trial is not None and trial.expired(now_us),
        postpaid=service.postpaid,
        reservation_bought=service.reservation_count > 0,
        reservation_active=reserved.active,
        account_overdue=account.overdue,
        overdue_policy=account.overdue_policy,
        suspended=service.suspended,
        fleet_told=service.fleet_told,
        deleted=service.deleted,
        price_in_force=price_in_force,
        model_retired=service.model_retired,
        account_closed=account.closed,
    )


def status_of(
    service: Service, account: Account, reserved: Reserved, now_us: int, *, price_in_force: bool
) -> ServiceStatus:
    """The service's status at this moment."""
    return derive_status(facts_of(service, account, reserved, now_us, price_in_force=price_in_force))


def next_due_us(service: Service, reserved: Reserved, now_us: int) -> int | None:
    """The next moment at which time alone changes the service's status; None if no such moment is to come."""
    if service.deleted:
        return None
    expire_us = service.trial.expire_us if service.trial else None
    moments = [at for at in (expire_us, reserved.next_end_us) if at is not None and at > now_us]
    return min(moments, default=None)
