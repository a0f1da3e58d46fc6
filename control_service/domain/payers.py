"""Who pays for a service's tokens at this moment, and what metering nodes are told of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from control_service.domain.account import Account
from control_service.domain.budget import BudgetKind
from control_service.domain.price import Price
from control_service.domain.reservation import Reserved
from control_service.domain.service import Service, facts_of, standing_of
from control_service.domain.status import Status, StopReason


@dataclass(frozen=True, slots=True)
class Payers:
    """Which payers a service has, whatever each of them has left. `debt_allowed`: what nothing covers becomes debt."""

    reservation: bool
    trial: bool
    postpaid: bool
    debt_allowed: bool
    reserved: Reserved

    def pays(self, kind: BudgetKind) -> bool:
        """Whether this kind of budget pays."""
        if kind is BudgetKind.MONEY:
            return self.postpaid
        if kind is BudgetKind.TRIAL:
            return self.trial
        return self.reserved.by_kind[kind] > 0


def payers_of(service: Service, account: Account, reserved: Reserved, now_us: int) -> Payers:
    """The payers of a service. An overdue account pays nothing, nor does one whose reservation refuses overflow."""
    facts = facts_of(service, account, reserved, now_us)
    return Payers(
        reservation=facts.reservation_active,
        trial=facts.trial_usable,
        postpaid=facts.postpaid_enabled and not account.overdue and not reserved.refuses_overflow,
        debt_allowed=facts.postpaid_enabled,
        reserved=reserved,
    )


class Resolution(enum.StrEnum):
    """Whether a name stands for a service."""

    FOUND = "FOUND"
    UNKNOWN = "UNKNOWN"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a node needs to know of a service that is there."""

    uid: str
    model_id: str
    status: Status
    stop_reasons: frozenset[StopReason]
    payers: Payers
    price: Price | None
    smallest_request_tokens: int


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What a node is told of a name. `terms` is None unless it was found."""

    name: str
    version: int
    resolution: Resolution
    terms: Terms | None = None


def config_of(
    service: Service,
    account: Account,
    reserved: Reserved,
    price: Price | None,
    smallest_request_tokens: int,
    *,
    version: int,
    now_us: int,
) -> ServiceConfig:
    """What nodes are told of a service. Of a deleted one, that it is."""
    if service.deleted:
        return ServiceConfig(service.name, version, Resolution.DELETED)
    standing = standing_of(service, account, reserved, now_us)
    terms = Terms(
        uid=service.uid,
        model_id=service.model_id,
        status=standing.status,
        stop_reasons=standing.stop_reasons,
        payers=payers_of(service, account, reserved, now_us),
        price=price,
        smallest_request_tokens=smallest_request_tokens,
    )
    return ServiceConfig(service.name, version, Resolution.FOUND, terms)
