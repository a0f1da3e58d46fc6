"""How far a request can be held for: by its payers, and by the pots of every budget that it is charged to.

All are worked out in one pass, so that one exchange of leases asks for all that is short. A request that waits holds
nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from metering_service.domain.funding import Extension, Offer, Offers, Want, extend
from metering_service.domain.grant import output_target
from metering_service.domain.outage import tokens_of
from metering_service.domain.pot import HeldUnits, PotKind
from metering_service.domain.request import Request
from metering_service.usecases.node import Means, Node
from metering_service.usecases.state.pot_state import PotState, pots_of, units_of
from metering_service.usecases.state.service_state import PLENTY_TOKENS, ServiceState, free_tokens


class Short(NamedTuple):
    """A pot that has too little at hand and may have more: how much of it must be free."""

    pot: PotState
    units: int


class Cover(NamedTuple):
    """What can be held now, and what must be asked before more can be: a payer, pots of budgets."""

    held: HeldUnits
    want: Want | None
    short: tuple[Short, ...]

    @property
    def may_have_more(self) -> bool:
        """Whether it is not confirmed yet that there is no more."""
        return self.want is not None or bool(self.short)


Covered: TypeAlias = Extension | Cover
"""Cover where pots are short; otherwise what payers give is all that there is to say."""


class PotOffer(NamedTuple):
    """A pot that refuses what it has too little for, and what it has at hand."""

    pot: PotState
    offer: Offer

    @property
    def is_money(self) -> bool:
        """Whether it counts money."""
        return self.pot.key.kind is PotKind.BUDGET_MONEY


class Needs(NamedTuple):
    """What an extension takes of every pot of tokens, and of every pot of money."""

    tokens: int
    money_nanos: int

    def of(self, pot: PotState) -> int:
        """What it takes of this one."""
        return units_of(pot.key.kind, self.tokens, self.money_nanos)


def cover(node: Node, service: ServiceState, request: Request, input_tokens: int) -> Covered:
    """Cover the input, and output as far as the size of a grant goes by what is free."""
    means = node.means(service)
    free = free_tokens(means.offers, request.price)
    if means.tokens_max is not None:
        free = min(free, means.tokens_max)
    grant_max = _grant_max(request, node.clock.monotonic_ns())
    if not request.stamp.pots:
        return cover_so_much(request, input_tokens, _target(request, free, grant_max), means)
    pots = enforced_pots(node, service, request)
    free = min(free, *(_free_tokens(pot, request) for pot in pots)) if pots else free
    return cover_so_much(request, input_tokens, _target(request, free, grant_max), means, pots)


def cover_so_much(
    request: Request, input_tokens: int, output_tokens: int, means: Means, pots: Sequence[PotOffer] = ()
) -> Covered:
    """Cover this many tokens of each class in all, as far as payers and pots go."""
    offers, tokens_max = means
    extension = extend(request.held, input_tokens, output_tokens, offers, request.price, tokens_max=tokens_max)
    if not pots:
        return extension
    held, want = extension
    needs = needs_of(request, input_tokens, output_tokens, offers, extension)
    short = [each for each in pots if each.offer.units < needs.of(each.pot)]
    if not short:
        return extension
    offers, room = capped(offers, short)
    held = extend(
        request.held,
        input_tokens,
        output_tokens,
        offers,
        request.price,
        tokens_max=room if tokens_max is None or (room is not None and room < tokens_max) else tokens_max,
    ).held
    return Cover(held, want, tuple(Short(pot, needs.of(pot)) for pot, offer in short if not offer.exhausted))


def needs_of(request: Request, input_tokens: int, output_tokens: int, offers: Offers, extension: Extension) -> Needs:
    """What covering these tokens takes of pots; the payer that must be asked first counts as one that has enough."""
    old, (held, want) = request.held, extension
    tokens = max(0, input_tokens - old.input_tokens) + max(0, output_tokens - old.output_ceiling_tokens)
    if want is not None:
        held = extend(old, input_tokens, output_tokens, offers.unbounded(want.kind), request.price).held
    return Needs(tokens, held.money_nanos - old.money_nanos)


def capped(offers: Offers, short: list[PotOffer]) -> tuple[Offers, int | None]:
    """What payers may give beside pots that have too little: money, and tokens in all."""
    nanos = min((each.offer.units for each in short if each.is_money), default=None)
    if nanos is not None and offers.money.pays:
        # That no more of it can be had is the pot's doing.
        offers = offers._replace(money=Offer(min(nanos, offers.money.units), exhausted=True))
    return offers, min((each.offer.units for each in short if not each.is_money), default=None)


def enforced_pots(node: Node, service: ServiceState, request: Request) -> list[PotOffer]:
    """The pots that a request is charged to and that refuse: not those of soft budgets, nor of deleted ones."""
    now_ns = node.clock.monotonic_ns()
    usable = node.leases_valid or node.goes_on(service)
    return [
        PotOffer(pot, pot.offer(now_ns, usable=usable))
        for pot in pots_of(node.lease_index, service.name, request.stamp.pots)
        if (limit := node.limits.limit_of(pot.key)) is not None and not limit.only_counts
    ]


def ask(node: Node, service: ServiceState, request: Request, input_tokens: int, covered: Covered) -> None:
    """Wait for the least that lets a request go on; and ask ahead for leases that larger grants come from.

    Were only the least on lease, the next grant would be the least too, and each renewal an exchange of leases.
    """
    offers, tokens_max = node.means(service)
    plenty_tokens = _target(request, PLENTY_TOKENS if tokens_max is None else min(PLENTY_TOKENS, tokens_max))
    if covered.want is not None:
        node.request_units(service, covered.want)
        lease = service.lease(covered.want.kind)
        if not lease.demand.full_units:
            want = extend(request.held, input_tokens, plenty_tokens, offers, request.price, tokens_max=tokens_max).want
            lease.demand.full_units = want.units if want is not None else covered.want.units
    more_tokens = max(0, input_tokens - request.held.input_tokens) + plenty_tokens - request.held.output_ceiling_tokens
    for pot, units in covered.short if isinstance(covered, Cover) else ():
        # What as many tokens as in a grant of full size may cost, whatever their kind.
        full_units = units_of(pot.key.kind, more_tokens, request.price.dearest_nanos(more_tokens))
        service.need_pot(pot, units, max(units, full_units))
        node.work.exchange()


def ask_for(node: Node, service: ServiceState, covered: Covered) -> None:
    """Wait for just what was to be covered."""
    if covered.want is not None:
        node.request_units(service, covered.want)
    for pot, units in covered.short if isinstance(covered, Cover) else ():
        service.need_pot(pot, units, 0)
        node.work.exchange()


def is_as_rules_aim(node: Node, request: Request) -> bool:
    """Whether rate rules aim at no more than a request has: then it is no sign of an end that there is no more."""
    grant_max = _grant_max(request, node.clock.monotonic_ns())
    aim_tokens = request.base_output_tokens + _target(request, PLENTY_TOKENS, grant_max)
    return grant_max is not None and aim_tokens <= request.ceiling_tokens


def _grant_max(request: Request, now_ns: int) -> int | None:
    """Maximum size of the next grant by the rate rules that apply; None where none counts output."""
    if request.rules is None:
        return None
    is_first = not request.held.output_ceiling_tokens and request.predecessor_part is None
    return request.rules.first_grant_max(now_ns) if is_first else request.rules.grant_max(now_ns)


def _target(request: Request, free: int, grant_max: int | None = None) -> int:
    """The output to aim for, of this part."""
    ceiling_tokens = output_target(
        request.output_tokens,
        free,
        request.max_output_tokens,
        ceiling_tokens=request.ceiling_tokens,
        grant_max=grant_max,
    )
    return ceiling_tokens - request.base_output_tokens


def _free_tokens(each: PotOffer, request: Request) -> int:
    """Roughly how many output tokens a pot has room for."""
    units, price = each.offer.units, request.price
    if not each.is_money:
        return units
    return units * 1_000_000 // price.dearest_output if price.dearest_output else PLENTY_TOKENS


def own_units(pot: PotState, held: HeldUnits) -> int:
    """What a request holds of a pot."""
    return units_of(pot.key.kind, tokens_of(held), held.money_nanos)
