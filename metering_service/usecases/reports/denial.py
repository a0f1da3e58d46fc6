"""The denial of a request that payers or budgets have too little for: too large for what remains, or only not now."""

import math
from typing import NamedTuple

from metering_service.domain.decision import BudgetStatus, Decision, Reason, deny
from metering_service.domain.funding import MONEY, TRIAL, UNBOUNDED, Offers, extend
from metering_service.domain.lease import Lease
from metering_service.domain.pot import PotKind
from metering_service.domain.request import Request
from metering_service.domain.whole_answer import accrues_after_ms
from metering_service.usecases.node import Node
from metering_service.usecases.reports.cover import enforced_pots, needs_of, own_units
from metering_service.usecases.state.pot_state import PotState
from metering_service.usecases.state.service_state import ServiceState


class Remaining(NamedTuple):
    """What is left of a pot: free for anyone to take, and held or leased elsewhere, so that it may come back."""

    free_units: int
    may_come_back_units: int


def refuse(node: Node, service: ServiceState, request: Request, input_tokens: int, output_tokens: int) -> Decision:
    """The denial of a request that needs this many tokens, payers and pots being confirmed to have too little free.

    A definite reason is one that would refuse the request alone, whatever comes back from others. Of several the one is
    named that lasts longest: what only a person can end, then the budget that begins anew last.
    """
    if not request.stamp.pots:
        return explain(node, service, request, input_tokens, output_tokens)
    offers, config = node.means(service).offers, service.config
    assert config is not None
    extension = extend(request.held, input_tokens, output_tokens, offers, request.price)
    held, funds = extension.held, None
    if held.input_tokens < input_tokens or held.output_ceiling_tokens < output_tokens:
        funds = explain(node, service, request, input_tokens, output_tokens)
        if not funds.retryable:
            return funds
        if offers.money.pays:
            offers = offers.unbounded(MONEY)
        extension = extend(request.held, input_tokens, output_tokens, offers, request.price)
    needs = needs_of(request, input_tokens, output_tokens, offers, extension)
    exceeded = [
        (budget.end_us, budget)
        for pot, _ in enforced_pots(node, service, request)
        if needs.of(pot) > sum(remaining_of(pot.leases.get(pot.key.kind), own_units(pot, request.held)))
        and (budget := _budget_status(node, pot)) is not None
    ]
    if exceeded:
        _, budget = max(exceeded, key=lambda each: math.inf if each[0] is None else each[0])
        return deny(request.request_id, Reason.BUDGET_EXCEEDED, budget=budget, config_version=config.version)
    return funds or deny(request.request_id, Reason.BUDGET_CONTENDED, config_version=config.version)


def _budget_status(node: Node, pot: PotState) -> BudgetStatus | None:
    """The budget of a pot, as its owner knows it."""
    limit = node.limits.limit_of(pot.key)
    if limit is None:
        return None
    end_us = limit.ends_us(pot.key.period_start_us)
    is_money = pot.key.kind is PotKind.BUDGET_MONEY
    return BudgetStatus(limit.name, limit.place, limit.amount_units, is_money, end_us)


def explain(node: Node, service: ServiceState, request: Request, input_tokens: int, output_tokens: int) -> Decision:
    """The denial of a request that needs this many tokens, all payers being confirmed to have too little free."""
    config = service.config
    assert config is not None
    if (config.postpaid_pays or config.debt_allowed) and (request.price.is_absent or config.price.is_absent):
        # Money would have to pay. A price that comes later is for requests that are authorised by it.
        return deny(request.request_id, Reason.NO_PRICE, config_version=config.version)
    return _too_little(node, service, request, input_tokens, output_tokens)


def _too_little(node: Node, service: ServiceState, request: Request, input_tokens: int, output_tokens: int) -> Decision:
    config = service.config
    assert config is not None
    offers = node.means(service).offers
    version = config.version

    def needs(offers_if: Offers) -> tuple[int, int]:
        held = extend(request.held, input_tokens, output_tokens, offers_if, request.price).held
        return held.trial_tokens - request.held.trial_tokens, held.money_nanos - request.held.money_nanos

    if config.postpaid_pays:
        left = remaining(service, MONEY, request.held.money_nanos)
        _, needed = needs(offers._replace(money=UNBOUNDED))
        if needed <= left.free_units + left.may_come_back_units:
            return deny(request.request_id, Reason.BUDGET_CONTENDED, config_version=version)
        return deny(
            request.request_id,
            Reason.BALANCE_INSUFFICIENT,
            remaining_nanos=left.free_units,
            config_version=version,
        )
    if config.reservation_pays:
        return _beyond_reservation(service, request, input_tokens, output_tokens)
    if config.trial_pays:
        left = remaining(service, TRIAL, request.held.trial_tokens)
        needed, _ = needs(offers._replace(trial=UNBOUNDED))
        if needed <= left.free_units + left.may_come_back_units:
            return deny(request.request_id, Reason.BUDGET_CONTENDED, config_version=version)
        return deny(
            request.request_id,
            Reason.TRIAL_INSUFFICIENT,
            remaining_tokens=left.free_units,
            config_version=version,
        )
    return deny(request.request_id, Reason.BUDGET_CONTENDED, config_version=version)


def _beyond_reservation(service: ServiceState, request: Request, input_tokens: int, output_tokens: int) -> Decision:
    """Retryable once enough has accrued; never, if it is larger than a minute's worth."""
    config = service.config
    assert config is not None
    ever = input_tokens <= config.reserved_input_tpm and output_tokens <= max(1, config.reserved_output_tpm)
    waits = [
        accrues_after_ms(tokens - remaining(service, kind, 0).free_units, tokens_per_minute)
        for kind, tokens, tokens_per_minute in (
            (PotKind.RESERVATION_INPUT, input_tokens - request.held.input_tokens, config.reserved_input_tpm),
            (
                PotKind.RESERVATION_OUTPUT,
                output_tokens - request.held.output_ceiling_tokens,
                config.reserved_output_tpm,
            ),
        )
    ]
    return deny(
        request.request_id,
        Reason.RESERVATION_EXCEEDED,
        retry_after_ms=max(1, *waits) if ever else None,
        retryable=ever,
        config_version=config.version,
    )


def remaining(service: ServiceState, kind: PotKind, own_units: int) -> Remaining:
    """`own_units`: what the request itself holds, which is no more to come back than it is free."""
    return remaining_of(service.leases.get(kind), own_units)


def remaining_of(lease: Lease | None, own_units: int) -> Remaining:
    """What is left of the pot of a lease, likewise; nothing, while nothing was asked of it."""
    if lease is None:
        return Remaining(0, 0)
    free = max(0, lease.free) + max(0, lease.available_units)
    return Remaining(free, lease.held - own_units + lease.leased_elsewhere_units)
