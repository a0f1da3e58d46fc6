"""Admission of answers that come as a whole: all that may be generated is held at once, and never renewed.

What is held may be less than was asked for only where the rest is spent for good. What others hold or have on lease may
come back: then a request is not cut down to what is left beside them, but refused, to be sent again.
"""

from typing import Final

from metering_service.domain.decision import Decision, Reason, deny
from metering_service.domain.funding import MONEY, TRIAL, Offer, extend
from metering_service.domain.pot import HeldUnits, PotKind
from metering_service.domain.report import Report
from metering_service.domain.request import Request
from metering_service.domain.service import ServiceConfig
from metering_service.domain.whole_answer import AnswerSize, accrues_after_ms, best_offers, only_reserved, size_of
from metering_service.usecases.node import Node
from metering_service.usecases.reports.cover import PotOffer, ask_for, capped, cover_so_much, enforced_pots
from metering_service.usecases.reports.denial import refuse, remaining, remaining_of
from metering_service.usecases.state.pot_state import PotState
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import PARKED, Parked

CONTENDED_RETRY_MS: Final = 1_000
"""Delay before a denied whole answer may be tried again: what others hold comes back when their answers end."""
NOTHING_MORE: Final = AnswerSize(output_tokens=0, least_tokens=0)


def cover_whole(node: Node, service: ServiceState, request: Request, report: Report) -> HeldUnits | Decision | Parked:
    """What is to be held for a request as a whole, or why it may not run; PARKED while payers must be asked first.

    One that goes on from a part of another node has its ceiling already: it gets no other.
    """
    config = service.config
    assert config is not None
    answer = size_of(report, config)
    if request.predecessor_part is not None:
        answer = NOTHING_MORE
    input_tokens, output_tokens = max(0, report.counts.input_class - request.base_input_tokens), answer.output_tokens
    if output_tokens < answer.least_tokens:
        return refuse(node, service, request, input_tokens, answer.least_tokens)
    pots = enforced_pots(node, service, request) if request.stamp.pots else []
    covered = cover_so_much(request, input_tokens, output_tokens, node.means(service), pots)
    held = covered.held
    if _covers(held, input_tokens, output_tokens):
        return held
    if covered.may_have_more:
        ask_for(node, service, covered)
    if covered.may_have_more or not node.leases_valid:
        return PARKED
    best = _best(node, service, request, input_tokens, output_tokens)
    if not _covers(best, input_tokens, answer.least_tokens):
        return refuse(node, service, request, input_tokens, answer.least_tokens)
    if held == best:
        return held
    by_payers = extend(request.held, input_tokens, output_tokens, node.means(service).offers, request.price).held
    is_rate = only_reserved(config) and not _covers(by_payers, input_tokens, output_tokens)
    return _not_now(config, request, held, best, is_rate=is_rate)


def _best(node: Node, service: ServiceState, request: Request, input_tokens: int, output_tokens: int) -> HeldUnits:
    """What could be held if all came back that others hold or have on lease."""
    config = service.config
    assert config is not None
    trial_units, money_units = (_may_come(service, kind) for kind in (TRIAL, MONEY))
    offers, tokens_max = best_offers(config, node.means(service).offers, trial_units, money_units), None
    if request.stamp.pots:
        pots = enforced_pots(node, service, request)
        offers, tokens_max = capped(offers, [PotOffer(each.pot, _best_offer(each.pot)) for each in pots])
    return extend(request.held, input_tokens, output_tokens, offers, request.price, tokens_max=tokens_max).held


def _best_offer(pot: PotState) -> Offer:
    return Offer(sum(remaining_of(pot.leases.get(pot.key.kind), 0)), exhausted=True)


def _covers(held: HeldUnits, input_tokens: int, output_tokens: int) -> bool:
    return held.input_tokens >= input_tokens and held.output_ceiling_tokens >= output_tokens


def _not_now(config: ServiceConfig, request: Request, held: HeldUnits, best: HeldUnits, *, is_rate: bool) -> Decision:
    """The denial of a request that could have more than is free now, once something comes back or accrues.

    `is_rate`: whether only a rate has too little now, which accrues.
    """
    if is_rate:
        return deny(
            request.request_id,
            Reason.RESERVATION_EXCEEDED,
            retry_after_ms=max(
                accrues_after_ms(best.input_tokens - held.input_tokens, config.reserved_input_tpm),
                accrues_after_ms(best.output_ceiling_tokens - held.output_ceiling_tokens, config.reserved_output_tpm),
            ),
            config_version=config.version,
        )
    return deny(
        request.request_id,
        Reason.BUDGET_CONTENDED,
        retry_after_ms=CONTENDED_RETRY_MS,
        config_version=config.version,
    )


def _may_come(service: ServiceState, kind: PotKind) -> int:
    """What this request could have of a pot at most: free now, or in the hands of others."""
    free_units, may_come_back_units = remaining(service, kind, 0)
    return free_units + may_come_back_units
