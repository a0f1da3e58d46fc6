"""Rate rules in the way of a request: which ones apply, whether they let it begin, and how near they are to a limit.

A rule lets a request begin or not. What is held for it from then on is charged as it comes, and ends no answer.
"""

from metering_service.domain.decision import Decision
from metering_service.domain.funding import extend
from metering_service.domain.grant import GRANT_TOKENS_MAX, GRANT_TOKENS_MIN, is_past_half
from metering_service.domain.pot import HeldUnits
from metering_service.domain.rate_charges import Counted, RateCharges, counted
from metering_service.domain.rate_gate import Lack, definite, lacks, would_deny
from metering_service.domain.rate_status import RateStatus, rate_status, tightest
from metering_service.domain.request import Request
from metering_service.domain.service import account_of
from metering_service.usecases.node import Node
from metering_service.usecases.state.pot_state import pot_state
from metering_service.usecases.state.rule_state import charged_rules
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import PARKED, Parked


def rules_of(node: Node, service: ServiceState, request: Request) -> RateCharges | None:
    """The rules that apply to a request; None where none does.

    A part that goes on from another one is the same request: it was counted before, and has a slot as long as it runs.
    """
    config, stamp = service.config, request.stamp
    if not node.limits or config is None:
        return None
    applies = node.limits.applying(config, stamp.credential, stamp.key_team, node.clock.monotonic_ns())
    if not applies.rules:
        return None
    rules = charged_rules(node.lease_index, service.name, stamp.credential, stamp.key_team, applies)
    return RateCharges(rules.rates if request.predecessor_part is None else rules.later, rules.slots)


def pass_rules(
    node: Node, service: ServiceState, request: Request, held: HeldUnits, least_output_tokens: int
) -> HeldUnits | Decision | Parked:
    """What of this may be held by all rules at once, so much output at least; or why the request may not begin.

    One that goes on from another part has passed already. Without valid leases rules count what they can, and refuse
    nothing: only control knows what has accrued.
    """
    rules = request.rules
    if rules is None or request.predecessor_part is not None:
        return held
    now_ns, tokens = node.clock.monotonic_ns(), counted(held)
    least_tokens = max(0, min(tokens.output_tokens, least_output_tokens - held.reserved_output_tokens))
    if node.leases_valid:
        found = lacks(rules, Counted(tokens.input_tokens, least_tokens))
        lack = definite(found, now_ns)
        if lack is not None:
            return lack.denial(request.request_id, now_ns, service.config.version if service.config is not None else 0)
        if found:
            _ask(node, service, found, tokens)
            return PARKED
        room = max(least_tokens, rules.room_to_begin(tokens.input_tokens))
        if tokens.output_tokens > room:
            output_tokens = held.output_ceiling_tokens - (tokens.output_tokens - room)
            offers = node.means(service).offers
            held = extend(request.held, held.input_tokens, output_tokens, offers, request.price).held
            tokens = counted(held)
    _count_dry_runs(node, service, request, tokens, now_ns)
    return held


def ask_rules(node: Node, service: ServiceState, request: Request, input_tokens: int, output_tokens: int) -> None:
    """Ask for what rules have too little of, in the exchange that asks payers as well."""
    rules = request.rules
    if rules is not None and request.predecessor_part is None:
        tokens = Counted(input_tokens, output_tokens)
        _ask(node, service, lacks(rules, tokens), tokens)


def _ask(node: Node, service: ServiceState, found: list[Lack], tokens: Counted) -> None:
    """Wait for the least that lets a request begin, and ask ahead for grants of full size."""
    account = account_of(service.name)
    for rule, lease, units in found:
        assert lease.limit_pot is not None
        full_units = rule.units(tokens.input_tokens, GRANT_TOKENS_MAX) if rule.of_output else 0
        service.need_pot(
            pot_state(node.lease_index, account, lease.limit_pot), units, min(full_units, rule.ahead_units)
        )
    if found:
        node.work.exchange()


def _count_dry_runs(node: Node, service: ServiceState, request: Request, tokens: Counted, now_ns: int) -> None:
    """Count for every rule in dry run that it would have denied a request; apart, where this node cannot tell."""
    if request.rules is None:
        return
    for rule, is_known in would_deny(request.rules, tokens, now_ns):
        node.buffer.count_would_deny(service, request.stamp, rule.name, is_known=is_known)


def asks_renewal(request: Request) -> bool:
    """Whether a report asks, by what it says, for its grant to be renewed.

    Where a rule counts output, grants do not grow with what was generated: then only half of one of full size is left.
    """
    if not is_past_half(request.output_tokens, request.ceiling_tokens):
        return False
    rules = request.rules
    return rules is None or request.output_tokens > rules.quiet_tokens(request.ceiling_tokens)


def least_grant(request: Request, least_tokens: int) -> int:
    """The least that a request begins with under rules: less would be a last grant, and a rule ends no answer."""
    limit = request.max_output_tokens
    return max(least_tokens, GRANT_TOKENS_MIN if limit is None else min(GRANT_TOKENS_MIN, limit))


def nearest(node: Node, request: Request) -> RateStatus | None:
    """How things stand with the tightest rule of the caller's own key and service."""
    rules = request.rules
    if rules is None:
        return None
    now_ns = node.clock.monotonic_ns()
    statuses = [rate_status(lease, now_ns) for lease in rules.enforced if lease.rule.is_callers]
    statuses += [
        RateStatus(slots.rule, max(0, slots.rule.limit_units - slots.mine.held - slots.mine.leased_elsewhere_units))
        for slots in rules.slots
        if slots.rule.is_callers and not slots.rule.only_counts
    ]
    return tightest(statuses)
