"""The state that all use cases of a metering node share: services, clock, write buffer, work outside."""

from asyncio import Event
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision
from metering_service.domain.denial_log import Denial, DenialLog
from metering_service.domain.funding import Offers, Want
from metering_service.domain.key_ring import KeyRing
from metering_service.domain.lease import Lease
from metering_service.domain.outage import OutageAllowance, tokens_of
from metering_service.domain.pot import HeldUnits
from metering_service.domain.request import Request
from metering_service.domain.service import account_of
from metering_service.domain.stamp import Stamp
from metering_service.domain.usage_scope import UsageScope
from metering_service.usecases.commits.checkpoints import Checkpoints
from metering_service.usecases.commits.write_buffer import WriteBuffer
from metering_service.usecases.keys.keys import Keys
from metering_service.usecases.limits.known_limits import KnownLimits
from metering_service.usecases.ports import Running
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.state.followed_accounts import FollowedAccounts
from metering_service.usecases.state.lease_holder import LeaseIndex
from metering_service.usecases.state.predecessors import Predecessors
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiting_room import WaitingRoom
from tallygate._server.clock import Clock

FORGOTTEN_AT_ONCE: Final = 2
"""Maximum number of unknown names that are forgotten for each new one: where there are too many, they become fewer."""


class BackgroundWork(Protocol):
    """What a decision may need of the world outside; all of it returns at once and is carried out later."""

    def subscribe(self, service: str) -> None:
        """Ask the control service about a service."""

    def unsubscribe(self, service: str) -> None:
        """No longer follow a service."""

    def follow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        """Ask the control service about API keys and models."""

    def unfollow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        """No longer follow them."""

    def exchange(self) -> None:
        """Exchange leases soon: somebody waits."""

    def query_request(self, service: ServiceState, request_id: str) -> None:
        """Look into the database for a request that this node does not know."""

    def query_request_later(self, service: ServiceState, request_id: str, delay_ns: int) -> None:
        """As `query_request`, a little later: another node is about to book it."""

    def query_reuse(self, service: ServiceState, request: Request) -> None:
        """Look whether the id of a request that was authorised now has finished before; then stop it."""

    def query_successor(self, service: ServiceState, request: Request) -> None:
        """Look whether another node went on with a silent request, then book it."""


class Means(NamedTuple):
    """What a service's payers have at hand, and how many tokens more may be granted of it; None: as far as it goes."""

    offers: Offers
    tokens_max: int | None


class Silence(NamedTuple):
    """Since when nobody has spoken of a request of that service; or since when it has been set aside."""

    service: ServiceState
    since_ns: int


class Node:
    """The state of one node. Everything happens on one event loop."""

    def __init__(
        self,
        *,
        name: str,
        epoch: int,
        clock: Clock,
        new_id: Callable[[], str],
        buffer: WriteBuffer,
        checkpoints: Checkpoints,
        key_ring: KeyRing,
        settings: NodeSettings,
        work: BackgroundWork,
    ) -> None:
        self.name = name
        self.epoch = epoch
        self.clock = clock
        self.buffer = buffer
        self.checkpoints = checkpoints
        self.key_ring = key_ring
        self.settings = settings
        self.work = work
        self.new_id = new_id
        self.accounts = FollowedAccounts()
        self.keys = Keys(clock, settings, work, self.accounts)
        self.services: dict[str, ServiceState] = {}
        self.service_round: deque[ServiceState] = deque()
        """Those that housekeeping looks at before it begins anew; some were forgotten meanwhile."""
        self.lease_index = LeaseIndex(new_id)
        self.limits = KnownLimits()
        self.unknown: OrderedDict[str, None] = OrderedDict()
        self.waiting: dict[str, ServiceState] = {}
        self.room = WaitingRoom(settings)
        self.predecessors = Predecessors(settings)
        self.calls_count = 0
        """Unary reports that are not recorded yet, also those whose callers have given up."""
        self.silent: dict[Request, Silence] = {}
        """Open requests that no stream speaks of, also those that went on elsewhere and came back as a later part; and
        those that timed out, for another resume window. The longest silent comes first."""
        self.holds: dict[Request, None] = {}
        """Those of them that stay open for a time of their own, in whatever order they fell silent."""
        self.unpaid: dict[Request, int] = {}
        """Those of them that wait for payers before more of them is booked, and since when."""
        self.finished: OrderedDict[tuple[str, str], int] = OrderedDict()
        self.denial_log = DenialLog(clock.now_us())
        self.leases_valid_until_ns = 0
        self.control_answers = False
        """Whether the last lease exchange was answered."""
        self._awaited: dict[str, Event] = {}
        """Services whose configuration somebody waits for, who has no report on it."""
        self._in_outage: list[ServiceState] = []
        self._parts = 0
        buffer.on_consumed = self._consumed

    def service(self, name: str) -> ServiceState:
        """The service of that name; control is asked about a new one."""
        service = self.services.get(name)
        if service is None:
            service = self.services[name] = ServiceState(name, self.lease_index)
            self.accounts.follow(account_of(name))
            self.work.subscribe(name)
            self.note_unknown(name)
        return service

    def note_unknown(self, name: str) -> None:
        """Control has not said yet what has this name, or that nothing has: of too many, the oldest are forgotten.

        So made-up names do not fill the memory, nor what control follows for this node, also while it does not answer.
        A name on which reports wait has another turn: those are bounded by themselves.
        """
        self.unknown[name] = None
        self.unknown.move_to_end(name)
        for _ in range(FORGOTTEN_AT_ONCE):
            if len(self.unknown) <= self.settings.unknown_services_max:
                return
            oldest = next(iter(self.unknown))
            if self.services[oldest].is_empty:
                self.forget(oldest)
            else:
                self.unknown.move_to_end(oldest)

    def forget(self, name: str) -> None:
        """Follow a service no longer, of which this node has nothing."""
        del self.services[name]
        self.accounts.unfollow(account_of(name), self.clock.monotonic_ns())
        self.unknown.pop(name, None)
        self.tell_known(name)
        self.work.unsubscribe(name)

    async def known_service(self, name: str) -> ServiceState:
        """The service of that name, once control has said what it is; waits for that as long as it takes.

        Its `config` is None where this node was asked about so many names meanwhile that it forgot this one.
        """
        service = self.service(name)
        service.last_used_ns = self.clock.monotonic_ns()
        if service.config is None:
            await self._awaited.setdefault(name, Event()).wait()
        return service

    def tell_known(self, name: str) -> None:
        """Control has said what a service is, or nobody asks any more."""
        awaited = self._awaited.pop(name, None)
        if awaited is not None:
            awaited.set()

    def _consumed(self, leases: Iterable[Lease]) -> None:
        """What was booked on these leases is committed: control may be told."""
        for lease in leases:
            holder = self.lease_index.by_lease_id.get(lease.lease_id)
            if holder is not None:
                self.lease_index.moved[holder.name] = holder

    @property
    def leases_valid(self) -> bool:
        """Whether control has renewed this node's leases recently enough."""
        return self.clock.monotonic_ns() < self.leases_valid_until_ns

    @property
    def waiting_count(self) -> int:
        """Number of reports that wait, but for those that wait for the end of another node's part."""
        return self.room.count

    @property
    def is_full_of_calls(self) -> bool:
        """Whether too many unary reports are unrecorded for more to be taken in; streams go on."""
        return self.calls_count >= self.settings.unread_beyond

    def valid_for_ms(self) -> int:
        """How long grants hold from now on: no grant outlives the leases that it was taken from."""
        return self._valid_for_ms(self.clock.monotonic_ns())

    def grant_valid_for_ms(self, service: ServiceState) -> int:
        """As `valid_for_ms`; where a service goes on without control: while nobody else can use this node's leases."""
        now_ns = self.clock.monotonic_ns()
        if self._goes_on(service, now_ns):
            return (self._alone_until_ns - now_ns) // 1_000_000
        return self._valid_for_ms(now_ns)

    def _valid_for_ms(self, now_ns: int) -> int:
        return max(0, self.leases_valid_until_ns - now_ns) // 1_000_000

    def goes_on(self, service: ServiceState) -> bool:
        """Whether a service goes on although the leases have lapsed.

        Control never ends a lease because time passed: it is this node's until another one takes the node over, through
        the metering database. So nobody else spends what it has on lease as long as its commits succeed.
        """
        return self._goes_on(service, self.clock.monotonic_ns())

    def means(self, service: ServiceState) -> Means:
        """What a service's payers have at hand now, and how much of it may be used."""
        now_ns = self.clock.monotonic_ns()
        config, goes_on = service.config, self._goes_on(service, now_ns)
        offers = service.offers(now_ns, leases_valid=now_ns < self.leases_valid_until_ns, goes_on=goes_on)
        if config is None or not goes_on:
            return Means(offers, None)
        granted_tokens = service.outage.tokens if service.outage is not None else 0
        return Means(offers, max(0, config.outage_tokens_max - granted_tokens))

    def end_outage(self) -> None:
        """Control has renewed the leases: the next outage has its bound again."""
        for service in self._in_outage:
            service.outage = None
        self._in_outage.clear()

    def _goes_on(self, service: ServiceState, now_ns: int) -> bool:
        config = service.config
        if config is None or config.outage_tokens_max == 0:
            return False
        return 0 < self.leases_valid_until_ns <= now_ns < self._alone_until_ns

    @property
    def _alone_until_ns(self) -> int:
        """Until then nobody who took this node over has given back what it holds, nor what it grants until then."""
        alone_ns = self.buffer.alone_ns
        return 0 if alone_ns is None else alone_ns + self.settings.outage_grant_ns

    def request_units(self, service: ServiceState, want: Want) -> None:
        """Somebody waits for a lease."""
        service.lease(want.kind).demand.need(want.units)
        self.work.exchange()

    def hold(self, service: ServiceState, request: Request, held: HeldUnits) -> None:
        """Set aside what a request's new hold has more than its old one; ask for more before a lease runs out."""
        now_ns = self.clock.monotonic_ns()
        if now_ns >= self.leases_valid_until_ns:
            if service.outage is None:
                service.outage = OutageAllowance()
                self._in_outage.append(service)
            service.outage.grant(request, tokens_of(held) - tokens_of(request.held))
        service.move(request, held, now_ns)
        if request.rules is not None:
            request.rules.take(held, now_ns)
        if service.is_low(request, now_ns):
            self.work.exchange()

    def set_aside(self, service: ServiceState, request: Request) -> None:
        """The request came back from elsewhere as a later part: book this one once it is known how far it got."""
        if service.open.get(request.request_id) is request:
            del service.open[request.request_id]
            request.leave_fast_road()
            request.session = None
            self.fall_silent(service, request)

    def fall_silent(self, service: ServiceState, request: Request) -> None:
        """Nobody speaks of a request from now on; or somebody did so now, who does not stay."""
        self.silent.pop(request, None)
        self.unpaid.pop(request, None)
        self.silent[request] = Silence(service, self.clock.monotonic_ns())
        if request.hold_until_ns:
            self.holds[request] = None

    def new_part(self) -> str:
        """A name for one authorisation, unique for ever: node, epoch, number."""
        self._parts += 1
        return f"{self.name}.{self.epoch}.{self._parts}"

    def count_denial(self, service: ServiceState, stamp: Stamp, decision: Decision) -> None:
        """An authorisation was denied: that is counted, and remembered for whoever asks why."""
        self.buffer.count_denial(service, stamp, decision)
        self.denial_log.note(Denial(service.name, stamp.team, stamp.credential, self.clock.now_us(), decision))

    def model_of(self, service: str) -> str:
        """Resource name of the service's model; empty where this node does not know it."""
        state = self.services.get(service)
        return state.config.model if state is not None and state.config is not None else ""

    def running(self, services: tuple[str, ...], scope: UsageScope) -> Running:
        """Requests that run now; `services` and `scope` as in a usage query."""
        count, tokens = 0, Counts()
        for name, service in self.services.items():
            account = account_of(name)
            if name in services or account in services:
                teams = scope.teams_of(name)
                for request in service.open.values():
                    if teams is None or request.stamp.team in teams:
                        count += 1
                        tokens += request.counts
        return Running(count, tokens)
