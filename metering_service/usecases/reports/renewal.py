"""Renewal of a grant that only money pays for: what `admission.renew` comes to, in a third of the time.

Where nearly every entry of a message renews its grant, this is what they cost.
"""

from typing import Final

from metering_service.domain.decision import Grant
from metering_service.domain.grant import is_past_half, output_target
from metering_service.domain.pot import HeldUnits, PotKind
from metering_service.domain.request import Request
from metering_service.domain.service import ServiceConfig
from metering_service.usecases.node import Node
from metering_service.usecases.reports.cutting import let_go_on
from metering_service.usecases.state.service_state import PLENTY_TOKENS, ServiceState

MONEY: Final = PotKind.MONEY


def is_paid_by_money_alone(config: ServiceConfig) -> bool:
    """Whether no other payer has to be looked at."""
    return config.postpaid_pays and not (config.reservation_pays or config.trial_pays)


def raise_grant(node: Node, service: ServiceState, request: Request, output_tokens: int) -> Grant | None:
    """Raise the ceiling of a request that has generated so much, where money at hand suffices for a grant of full size.

    None: that is for `admission.renew` to decide. The service is paid by money alone, the leases are valid, and the
    request runs on this stream, with no more input than is held.
    """
    held, price, limit = request.held, request.price, request.max_output_tokens
    base_tokens = request.base_output_tokens
    before = base_tokens + held.output_ceiling_tokens
    if (
        request.rules is not None
        or request.stamp.pots
        or held.trial_tokens
        or held.reserved_input_tokens
        or held.reserved_output_tokens
        or price.version == 0
        or not is_past_half(output_tokens, before)
    ):
        return None
    lease = service.leases.get(MONEY)
    units = max(0, lease.free) if lease is not None and not lease.closing else 0
    dearest = price.dearest_output
    free_tokens = units * 1_000_000 // dearest if dearest else PLENTY_TOKENS
    ceiling = output_target(output_tokens, free_tokens, limit, ceiling_tokens=before)
    target = ceiling - base_tokens
    needed_nanos = price.hold_nanos(held.input_tokens, target)
    if ceiling <= before or needed_nanos > held.money_nanos + units or (limit is not None and ceiling >= limit):
        return None
    more_tokens = target - held.output_ceiling_tokens
    money_nanos = max(held.money_nanos, needed_nanos)
    node.hold(
        service,
        request,
        HeldUnits(held.input_tokens, target, 0, 0, 0, held.billed_tokens + more_tokens, money_nanos),
    )
    request.is_final = False
    let_go_on(node, request)
    content = request.resume_content(node.name, node.epoch)
    resume = node.key_ring.sign(request.service_uid, request.request_id, content)
    # In columns it is valid as long as all others.
    return Grant(ceiling, 0, is_final=False, resume=resume)
