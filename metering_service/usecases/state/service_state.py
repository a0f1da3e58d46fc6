"""The services at work on this node: configuration, leases and requests of each, and which of them have leases."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from metering_service.domain.booking import Booking
from metering_service.domain.funding import NOTHING, Offer, Offers
from metering_service.domain.kept_units import NOTHING_KEPT
from metering_service.domain.lease import Lease
from metering_service.domain.outage import OutageAllowance
from metering_service.domain.pot import PAYERS, HeldUnits, PotKind
from metering_service.domain.price import Price
from metering_service.domain.receipt import Used
from metering_service.domain.report import TOKENS_MAX
from metering_service.domain.request import EVERY_REPORT, Request
from metering_service.domain.service import ServiceConfig

if TYPE_CHECKING:
    from metering_service.usecases.state.waiter import Waiter

PLENTY_TOKENS: Final = 1 << 40
"""Tokens that count as available where money pays and a token costs nothing."""
UNKNOWN: Final = Offer(0, exhausted=False)
"""Offer of a payer whose lease is not known yet."""


class ServiceState:
    """Everything that this node knows of one service. `config` is None until the control service has answered."""

    __slots__ = (
        "_index",
        "config",
        "draining",
        "finished",
        "last_used_ns",
        "leases",
        "name",
        "open",
        "outage",
        "waiters",
    )

    def __init__(self, name: str, index: "LeaseIndex") -> None:
        """`index`: where it enters itself when it gets a lease, and whenever something happens to one."""
        self.name = name
        self._index = index
        self.config: ServiceConfig | None = None
        self.leases: dict[PotKind, Lease] = {}
        self.draining: list[Lease] = []
        self.open: dict[str, Request] = {}
        self.finished: dict[str, Request] = {}
        # A list: an empty deque would be half of what a service that is merely known takes.
        self.waiters: list[Waiter] = []
        self.outage: OutageAllowance | None = None
        """Made when it is needed first."""
        self.last_used_ns = 0

    @property
    def uid(self) -> str:
        """The service's unique id; empty while it is not known."""
        return self.config.uid if self.config is not None else ""

    @property
    def team(self) -> str:
        """Id of the team that the service belongs to now; empty for none, and while it is not known."""
        return self.config.team if self.config is not None else ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be lost if this node forgot it."""
        return not (self.open or self.finished or self.waiters or self.leases or self.draining)

    def lease(self, kind: PotKind) -> Lease:
        """The lease on a pot, to do something with it; a new one, with nothing granted yet, if there is none."""
        self._index.moved[self.name] = self
        lease = self.leases.get(kind)
        if lease is None:
            lease = self.leases[kind] = self._index.open(self, kind)
        return lease

    def replace_lease(self, lease: Lease) -> None:
        """The control service has closed this lease: what requests hold of it moves to a new one, as a debt to be met.

        The old lease stays until everything booked on it is committed and told: late consumption still counts.
        """
        lease.closing = True
        self._index.moved[self.name] = self
        self.draining.append(lease)
        del self.leases[lease.kind]
        if lease.held:
            successor = self.leases[lease.kind] = self._index.open(self, lease.kind)
            successor.held, lease.held = lease.held, 0

    def forget_lease(self, lease: Lease) -> None:
        """A lease is over: control has closed it, and heard of all that was consumed."""
        if self.leases.get(lease.kind) is lease:
            del self.leases[lease.kind]
        else:
            self.draining.remove(lease)
        self._index.forget(lease)

    @property
    def has_leases(self) -> bool:
        """Whether there is anything to say of leases."""
        return bool(self.leases or self.draining)

    def all_leases(self) -> Iterator[Lease]:
        """Leases at work, and closed ones that are not settled yet."""
        yield from self.leases.values()
        yield from self.draining

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
        for kind, now, was in zip(PAYERS, held.by_kind, old.by_kind, strict=True):
            if now != was:
                self.lease(kind).hold(now - was, now_ns)
        request.held = held
        request.on_record = False

    def take(self, booking: Booking) -> None:
        """Turn what a request held into what it used; the rest is free again at once, but for what is kept."""
        for kind, held, was, now in zip(PAYERS, booking.held.by_kind, booking.used_before, booking.used, strict=True):
            if held != was or now != was:
                self.lease(kind).book(held - was, now - was)
        if booking.kept is not NOTHING_KEPT:
            self._keep(booking.kept)

    def let_go(self, kept: Used) -> None:
        """The booking that these units were kept for is durable: they are free."""
        for kind, units in zip(PAYERS, kept, strict=True):
            if units:
                self.lease(kind).book(units, 0)

    def _keep(self, kept: Used) -> None:
        for kind, units in zip(PAYERS, kept, strict=True):
            if units:
                self.lease(kind).book(-units, 0)

    def quiet_tokens(self, request: Request) -> int:
        """The greatest output class that an open request may report without being answered; see `Request`."""
        refused = self.config is None or self.config.refusal() is not None
        input_tokens = request.known_input + request.known_cached_input + request.known_cache_write
        grown = input_tokens > request.base_input_tokens + request.held.input_tokens
        if refused or grown or not request.tally.is_plain or not (request.authorised and request.is_owned):
            return EVERY_REPORT
        limit, ceiling = request.max_output_tokens, request.ceiling_tokens
        # At the server's own limit there is nothing to renew.
        quiet = ceiling if request.is_final and limit is not None and ceiling >= limit else ceiling // 2
        return min(quiet, TOKENS_MAX)

    def forget_needs(self) -> None:
        """Forget what requests were waiting for; those that still wait say so again."""
        for lease in self.leases.values():
            lease.demand.forget_needs()


class LeaseIndex:
    """Finds, by what control calls them, those services that have leases: far fewer than are known.

    All services of a node share one, so that one that is merely known takes nothing for what it may have.
    """

    __slots__ = ("_new_id", "by_lease_id", "by_uid", "moved", "services")

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self.services: dict[str, ServiceState] = {}
        """By name: those that have leases, or had some a moment ago."""
        self.moved: dict[str, ServiceState] = {}
        """Those with something to say of their leases, or to which something happened since there last was nothing."""
        self.by_lease_id: dict[str, ServiceState] = {}
        self.by_uid: dict[str, ServiceState] = {}

    def open(self, service: ServiceState, kind: PotKind) -> Lease:
        """A new lease, with nothing granted yet."""
        lease = Lease(self._new_id(), service.name, service.uid, kind)
        self.services[service.name] = self.by_uid[service.uid] = self.by_lease_id[lease.lease_id] = service
        return lease

    def forget(self, lease: Lease) -> None:
        """Nothing more will be said of a lease."""
        del self.by_lease_id[lease.lease_id]

    def forget_service(self, service: ServiceState) -> None:
        """It has no lease any more."""
        del self.services[service.name]
        self.by_uid.pop(service.uid, None)


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
