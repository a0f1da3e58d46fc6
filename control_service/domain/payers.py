"""Payers: who pays for a service's tokens at this moment, and the configuration that metering nodes have of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from control_service.domain.account import Account
from control_service.domain.model import Model
from control_service.domain.pot import PotKind
from control_service.domain.price import Price
from control_service.domain.reservation import Reserved
from control_service.domain.service import CredentialPolicy, OutagePolicy, Service, facts_of, status_of
from control_service.domain.status import Status, StopReason


@dataclass(frozen=True, slots=True)
class Payers:
    """The payers that a service has, whatever each of them has left.

    With `debt_allowed`, tokens that no payer covers become debt at the request's price, if it has one. That holds for a
    stopped service as well. A request that was authorised before its service was deleted keeps the payers of then.
    """

    reservation: bool
    trial: bool
    postpaid: bool
    debt_allowed: bool
    reserved: Reserved

    def pays(self, kind: PotKind) -> bool:
        """Whether this kind of pot pays."""
        if kind is PotKind.MONEY:
            return self.postpaid
        if kind is PotKind.TRIAL:
            return self.trial
        return self.reserved.by_kind[kind] > 0


def payers_of(service: Service, account: Account, reserved: Reserved, now_us: int, *, price_in_force: bool) -> Payers:
    """The payers of a service: none of a deleted one, no money of an overdue account, or without a price in force.

    Tokens over a reservation that refuses overflow are never charged, not even as debt.
    """
    facts = facts_of(service, account, reserved, now_us, price_in_force=price_in_force)
    may_charge = facts.postpaid_enabled and not reserved.refuses_overflow
    return Payers(
        reservation=facts.reservation_active and not facts.deleted,
        trial=facts.trial_usable and not facts.deleted,
        postpaid=may_charge and price_in_force and not account.overdue and not facts.deleted,
        debt_allowed=may_charge and not facts.deleted,
        reserved=reserved,
    )


class Resolution(enum.StrEnum):
    """Whether a name is that of a service."""

    FOUND = "FOUND"
    UNKNOWN = "UNKNOWN"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a service for nodes; those of a deleted service are kept, so that work done for it can be booked."""

    uid: str
    model_id: str
    status: Status
    stop_reasons: frozenset[StopReason]
    payers: Payers
    price: Price | None
    smallest_request_tokens: int
    output_tokens_max: int
    whole_output_tokens_default: int
    outage_policy: OutagePolicy
    outage_tokens_max: int
    team: str
    credential_policy: CredentialPolicy = CredentialPolicy.OPEN
    shared: bool = False
    exempt_from_model_rules: bool = False


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """The configuration of a name for nodes. `terms` is None where the name is unknown."""

    name: str
    version: int
    resolution: Resolution
    terms: Terms | None = None


def config_of(
    service: Service,
    account: Account,
    reserved: Reserved,
    price: Price | None,
    model: Model,
    *,
    version: int,
    now_us: int,
) -> ServiceConfig:
    """The configuration of a service for nodes; a deleted service is DELETED, with terms for the work that was done."""
    price_in_force = price is not None
    derived = status_of(service, account, reserved, now_us, price_in_force=price_in_force)
    terms = Terms(
        uid=service.uid,
        model_id=service.model_id,
        status=derived.status,
        stop_reasons=derived.stop_reasons,
        payers=payers_of(service, account, reserved, now_us, price_in_force=price_in_force),
        price=price,
        smallest_request_tokens=model.smallest_request_tokens,
        output_tokens_max=model.output_tokens_max,
        whole_output_tokens_default=model.whole_output_tokens_default,
        outage_policy=service.outage_policy,
        outage_tokens_max=service.outage_tokens_max,
        team=service.team,
        credential_policy=service.credential_policy,
        shared=service.shared,
        exempt_from_model_rules=service.exempt_from_model_rules,
    )
    resolution = Resolution.DELETED if service.deleted else Resolution.FOUND
    return ServiceConfig(service.name, version, resolution, terms)
