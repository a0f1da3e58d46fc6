"""The services at work on this node: configuration, leases and requests of each."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from metering_service.domain.booking import Booking
from metering_service.domain.funding import NOTHING, UNKNOWN, Offer, Offers
from metering_service.domain.kept_units import NOTHING_KEPT, Kept
from metering_service.domain.lease import Lease
from metering_service.domain.outage import OutageAllowance
from metering_service.domain.pot import PAYERS, HeldUnits, PotKind
from metering_service.domain.price import Price
from metering_service.domain.report import TOKENS_MAX
from metering_service.domain.request import Request
from metering_service.domain.running_counts import EVERY_REPORT
from metering_service.domain.service import ServiceConfig
from metering_service.usecases.state import pot_charges
from metering_service.usecases.state.lease_holder import LeaseHolder, LeaseIndex
from metering_service.usecases.state.pot_state import PotState, pots_of, units_of

if TYPE_CHECKING:
    from metering_service.usecases.state.waiter import Waiter

PLENTY_TOKENS: Final = 1 << 40
"""Tokens that count as available where money pays and a token costs nothing."""


class ServiceState(LeaseHolder):
    """Everything that this node knows of one service. `config` is None until the control service has answered."""

    __slots__ = ("_pots_needed", "config", "finished", "last_used_ns", "open", "outage", "waiters")

    def __init__(self, name: str, index: LeaseIndex) -> None:
        super().__init__(name, index)
        self.config: ServiceConfig | None = None
        self.open: dict[str, Request] = {}
        self.finished: dict[str, Request] = {}
        # A list: an empty deque would be half of what a service that is merely known takes.
        self.waiters: list[Waiter] = []
        self.outage: OutageAllowance | None = None
        """Made when it is needed first."""
        self.last_used_ns = 0
        self._pots_needed: Sequence[PotState] = ()

    @property
    def uid(self) -> str:
        """The service's unique id; empty while it is not known."""
        return self.config.uid if self.config is not None else ""

    @property
    @override
    def lease_uid(self) -> str:
        return self.uid

    @property
    @override
    def is_at_rest(self) -> bool:
        return not self.open and not self.waiters

    @property
    @override
    def is_waited_for(self) -> bool:
        return bool(self.waiters)

    @property
    def team(self) -> str:
        """Id of the team that the service belongs to now; empty for none, and while it is not known."""
        return self.config.team if self.config is not None else ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be lost if this node forgot it."""
        return not (self.open or self.finished or self.waiters or self.leases or self.draining)

    def offers(self, now_ns: int, *, leases_valid: bool, goes_on: bool = False) -> Offers:
        """What each payer has at hand: nothing, finally, if it does not pay; without valid leases, nothing yet.

        `goes_on`: quantities on lease are used all the same. A rate is not, nor passed over: only control knows of it.
        """
        config = self.config
        assert config is not None
        offer, rate, quantity = self._offer, leases_valid, leases_valid or goes_on
        reserved_input = reserved_output = NOTHING
        if config.reservation_pays:
            if config.reserved_input_tpm > 0:
                reserved_input = offer(PotKind.RESERVATION_INPUT, now_ns, rate)
            if config.reserved_output_tpm > 0:
                reserved_output = offer(PotKind.RESERVATION_OUTPUT, now_ns, rate)
        trial = offer(PotKind.TRIAL, now_ns, quantity) if config.trial_pays else NOTHING
        money = offer(PotKind.MONEY, now_ns, quantity) if config.postpaid_pays else NOTHING
        return Offers(reserved_input, reserved_output, trial, money)

    def reserve(self, kind: PotKind) -> int:
        """Units that suffice to go on for as long as an outage of the control service lets it."""
        config = self.config
        if config is None or config.reservation_pays:
            return 0
        if kind is PotKind.TRIAL and config.trial_pays:
            return config.outage_tokens_max
        if kind is PotKind.MONEY and config.postpaid_pays:
            return config.price.dearest_nanos(config.outage_tokens_max)
        return 0

    def _offer(self, kind: PotKind, now_ns: int, usable: bool) -> Offer:
        """What a payer that pays has at hand: nothing yet, without a lease or where it may not be used."""
        lease = self.leases.get(kind)
        return lease.offer(now_ns) if lease is not None and usable else UNKNOWN

    def move(self, request: Request, held: HeldUnits, now_ns: int) -> None:
        """Set aside what a request's new hold has more than its old one."""
        old = request.held
        if old is held:
            return
        # One by one: a loop takes three times as long.
        _, _, reserved_input, reserved_output, trial, _, money = held
        _, _, reserved_input_was, reserved_output_was, trial_was, _, money_was = old
        if reserved_input != reserved_input_was:
            self.lease(PotKind.RESERVATION_INPUT).hold(reserved_input - reserved_input_was, now_ns)
        if reserved_output != reserved_output_was:
            self.lease(PotKind.RESERVATION_OUTPUT).hold(reserved_output - reserved_output_was, now_ns)
        if trial != trial_was:
            self.lease(PotKind.TRIAL).hold(trial - trial_was, now_ns)
        if money != money_was:
            self.lease(PotKind.MONEY).hold(money - money_was, now_ns)
        if request.stamp.pots:
            pot_charges.hold(self._index, request, held, now_ns)
        request.held = held
        request.terms_changed()

    def take(self, request: Request, booking: Booking) -> None:
        """Turn what a request held into what it used; the rest is free again at once, but for what is kept."""
        _, _, held_input, held_output, held_trial, _, held_money = booking.held
        was_input, was_output, was_trial, was_money = booking.used_before
        now_input, now_output, now_trial, now_money = booking.used
        if held_input != was_input or now_input != was_input:
            self.lease(PotKind.RESERVATION_INPUT).book(held_input - was_input, now_input - was_input)
        if held_output != was_output or now_output != was_output:
            self.lease(PotKind.RESERVATION_OUTPUT).book(held_output - was_output, now_output - was_output)
        if held_trial != was_trial or now_trial != was_trial:
            self.lease(PotKind.TRIAL).book(held_trial - was_trial, now_trial - was_trial)
        if held_money != was_money or now_money != was_money:
            self.lease(PotKind.MONEY).book(held_money - was_money, now_money - was_money)
        if request.stamp.pots:
            pot_charges.book(self._index, request, booking)
        if booking.kept is not NOTHING_KEPT:
            self._keep(request, booking.kept, sign=1)

    def is_low(self, request: Request, now_ns: int) -> bool:
        """Whether to ask for more now, before a request like this one has to wait."""
        for lease in self.leases.values():
            if lease.is_low(now_ns):
                return True
        if request.rules is not None:
            for rate_lease in request.rules.enforced:
                if rate_lease.is_low(now_ns):
                    return True
        if request.stamp.pots:
            for lease in self.pot_leases(request):
                if lease.is_low(now_ns):
                    return True
        return False

    def reserve_pots(self, request: Request) -> None:
        """A request like this one is to go on in an outage of control: its pots keep as much as its payers do."""
        config = self.config
        if config is None or not config.outage_tokens_max or config.reservation_pays:
            return
        tokens = config.outage_tokens_max
        for pot in pots_of(self._index, self.name, request.stamp.pots):
            pot.reserves[self.name] = units_of(pot.key.kind, tokens, config.price.dearest_nanos(tokens))

    def pot_leases(self, request: Request) -> list[Lease]:
        """The leases on the pots of limits that a request is charged to."""
        return pot_charges.leases_of(self._index, request)

    def let_go(self, request: Request, kept: Kept) -> None:
        """The booking that these units were kept for is durable: they are free."""
        self._keep(request, kept, sign=-1)

    def _keep(self, request: Request, kept: Kept, *, sign: int) -> None:
        for kind, units in zip(PAYERS, kept.payers, strict=True):
            if units:
                self.lease(kind).book(-sign * units, 0)
        if request.stamp.pots:
            pot_charges.keep(self._index, request, kept, sign=sign)

    def quiet_tokens(self, request: Request) -> int:
        """The greatest output class that an open request may report without being answered; see `Request`."""
        refused = self.config is None or self.config.refusal() is not None
        if request.running is None:
            return EVERY_REPORT
        grown = request.running.input_class(request.slot) > request.base_input_tokens + request.held.input_tokens
        if refused or grown or not request.tally.is_plain or not (request.authorised and request.is_owned):
            return EVERY_REPORT
        limit, ceiling = request.max_output_tokens, request.ceiling_tokens
        # At the server's own limit there is nothing to renew.
        if request.is_final and limit is not None and ceiling >= limit:
            return min(ceiling, TOKENS_MAX)
        quiet = ceiling // 2 if request.rules is None else request.rules.quiet_tokens(ceiling)
        return min(quiet, TOKENS_MAX)

    def need_pot(self, pot: PotState, units: int, full_units: int) -> None:
        """A request waits for this many units of a limit's pot."""
        pot.need(self.name, units, full_units)
        if pot not in self._pots_needed:
            self._pots_needed = (*self._pots_needed, pot)

    @property
    def needs_more(self) -> bool:
        """Whether a request waits for more of some lease."""
        return any(True for _ in self.short_holders())

    def short_holders(self) -> Iterator[LeaseHolder]:
        """Those whose leases have less than requests wait for: itself, and pots of limits."""
        if any(lease.demand.needed for lease in self.leases.values()):
            yield self
        yield from self._pots_needed

    def is_contended_since(self, since_ns: int) -> bool:
        """Whether control, asked after this moment, has confirmed that others have what requests wait for."""
        return any(lease.demand.is_contended_since(since_ns) for lease in self.leases.values()) or any(
            lease.demand.is_contended_since(since_ns) for pot in self._pots_needed for lease in pot.leases.values()
        )

    def forget_needs(self) -> None:
        """Forget what requests were waiting for; those that still wait say so again."""
        for lease in self.leases.values():
            lease.demand.forget_needs()
        for pot in self._pots_needed:
            pot.forget_needs(self.name)
        self._pots_needed = ()


def free_tokens(offers: Offers, price: Price) -> int:
    """Roughly how many output tokens all payers together could pay for now: what the size of a grant goes by."""
    if price.is_absent:
        return offers.trial.units + offers.reserved_output.units
    money = offers.money
    tokens = offers.trial.units + offers.reserved_output.units
    if money.units and price.dearest_output:
        tokens += money.units * 1_000_000 // price.dearest_output
    elif price.dearest_output == 0 and money.pays:
        tokens += PLENTY_TOKENS
    return tokens
