"""One what-if: a workload against both services under one set of settings, on a clock that jumps to what comes next."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Sequence

from control_service.domain.reservation import Reservation
from control_service.usecases.ports import Database
from metering_service.domain.decision import Decision
from metering_service.domain.price import Price
from metering_service.domain.report import Phase, Report
from metering_service.usecases.reports.process import malformed, process
from metering_service.usecases.state.look_up_rate import LookUpRate
from metering_service.usecases.state.waiter import Parked, PendingCommits
from tallygate._server.clock import ManualClock
from tallygate.whatif.cheapest import Cheapest, cheapest
from tallygate.whatif.control import Control
from tallygate.whatif.node import NODE, MeteringNode
from tallygate.whatif.outcome import MINUTE_US, Outcome, ReservationUse, ServiceOutcome
from tallygate.whatif.set_up import set_up
from tallygate.whatif.settings import Settings, service_name
from tallygate.whatif.workload import SECOND_US, Job, Workload

STEP_US = 2 * SECOND_US
"""Time between two turns of the node while anything is on lease."""
WAIT_US = 5_000
"""Time between two turns while a request waits, as nodes have it."""
HOUSE_TURNS = 30
"""Number of turns after which old things are forgotten."""


async def what_if(workload: Workload, settings: Settings, database: Database) -> Outcome:
    """What would have come of the workload. `database`: an empty one of a control service.

    Raises SettingsError where the settings are refused, or serve a source of the workload by nothing.
    """
    served = {source: settings.service_of(source) for source in workload.sources}
    services = {service.name: ServiceOutcome(service.name) for service in settings.services}
    outcome = Outcome(settings.name, settings.currency, workload.start_us, services)
    numbers = itertools.count(1)
    run = _Run(database, ManualClock(workload.start_us, SECOND_US), lambda: str(uuid.UUID(int=next(numbers))), outcome)
    async with run.control.running():
        await set_up(run.control, settings)
        for done, job in enumerate(workload.jobs):
            await run.reach(workload.start_us + job.offset_us)
            await run.serve(done, job, served[job.source])
        await run.conclude()
        for service in settings.services:
            jobs = [job for job in workload.jobs if served[job.source] == service.name]
            services[service.name].cheapest = await run.cheapest(service.name, jobs)
    return outcome


class _Run:
    """Both services, and the one server that there is. It has one request at a time, which takes no time.

    It obeys: it generates no token above its grants, and ends with what it had when it must stop.
    """

    keeps_open = True

    def __init__(self, database: Database, clock: ManualClock, new_id: Callable[[], str], outcome: Outcome) -> None:
        self.control = Control(database, clock, new_id, NODE)
        self._database = database
        self._clock = clock
        self._outcome = outcome
        self._metering = MeteringNode(self.control, clock, new_id, outcome)
        self._turns = 0
        self._turned_us = 0
        self._is_answered = False
        self._answer: Decision | None = None
        self.look_ups = self.look_ups_for_work = LookUpRate(1)

    async def reach(self, moment_us: int) -> None:
        """Lets time pass, in steps as long as it changes anything."""
        while self._turned_us + STEP_US < moment_us and not self._metering.is_at_rest:
            self._advance(max(self._turned_us + STEP_US, self._clock.now_us()))
            await self._turn()
        self._advance(moment_us)
        if self._turned_us + STEP_US <= moment_us or self._metering.wants_turn:
            await self._turn()

    async def serve(self, number: int, job: Job, service_id: str) -> None:
        """One request, from its authorisation to its end."""
        service = self._outcome.services[service_id]
        service.requests += 1
        counts, wanted = job.counts, job.counts.output_class
        request = Report(
            f"{number:012d}", service_name(service_id), Phase.AUTHORIZE, counts._replace(output=0, reasoning=0)
        )
        # A limit that its user might have set: the next power of two.
        begun = await self._say(request._replace(max_output_tokens=1 << max(0, wanted - 1).bit_length()))
        if begun is None or begun.grant is None:
            assert begun is not None
            assert begun.reason is not None
            service.deny(begun.reason.name, self._clock.now_us())
            return
        service.allowed += 1
        generated = await self._generate(service, request, wanted, begun)
        reasoning = min(counts.reasoning, generated)
        counts = counts._replace(output=generated - reasoning, reasoning=reasoning)
        await self._say(request._replace(phase=Phase.FINISH, counts=counts))

    async def _generate(self, service: ServiceOutcome, request: Report, wanted: int, begun: Decision) -> int:
        """How much of what is wanted may be generated."""
        grant, generated = begun.grant, 0
        while grant is not None:
            generated = max(generated, min(wanted, grant.output_ceiling_tokens))
            if generated >= wanted:
                return generated
            if grant.is_final:
                service.cut_short += 1
                return generated
            counts = request.counts._replace(output=generated)
            said = await self._say(request._replace(phase=Phase.PROGRESS, counts=counts))
            if said is not None and said.reason is not None:
                service.stops[said.reason.name] += 1
                return generated
            if said is None or said.grant is None or said.grant.output_ceiling_tokens <= generated:
                await self._wait()
            grant = said.grant if said is not None and said.grant is not None else grant
        return generated

    async def conclude(self) -> None:
        """Brings all to rest, and reads what became of the account."""
        served_us = self._clock.now_us()
        while not self._metering.is_at_rest:
            self._advance(self._clock.now_us() + STEP_US)
            await self._turn()
        async with self._database.reading() as tx:
            account = await tx.accounts.get("what-if")
            self._outcome.balance_nanos, self._outcome.overdue_us = account.balance_nanos, account.overdue_us
            for service in self._outcome.services.values():
                found = await tx.services.find("what-if", service.name)
                assert found is not None
                trial, end_us = found.trial, service.trial_end_us
                if trial is not None:
                    service.trial_left_tokens = trial.quota_tokens - trial.spent_tokens
                    is_exhausted = service.trial_left_tokens < trial.smallest_tokens
                    service.trial_end_us = end_us if is_exhausted else trial.expire_us
                bought = await tx.reservations.page("what-if", service.name, 0, 1_000)
                if bought:
                    service.reservation_nanos = sum(one.paid_nanos for one in bought)
                    service.reservation_use = _use_of(service, bought, served_us)

    async def cheapest(self, service_id: str, jobs: Sequence[Job]) -> Cheapest | None:
        """The cheapest reservation for these requests; None where the model sells none, or has no price."""
        async with self._database.reading() as tx:
            sold = (await tx.models.get(service_id)).reservation_price
            prices = await tx.models.prices([service_id])
        if sold is None or not prices:
            return None
        price = prices[0]
        return cheapest(
            jobs,
            Price(
                price.version,
                price.input_nanos,
                price.cached_input_nanos,
                price.cache_write_nanos,
                price.output_nanos,
                price.reasoning_nanos,
            ),
            sold,
        )

    # --- what the node says: see `Reporter` ----------------------------------------------------------------------

    def named(self, request_id: str, service: str) -> None:
        """No key leads anywhere here."""

    def answer(self, sequence: int, decision: Decision | None) -> None:  # noqa: ARG002  # Reporter's
        """A report that waited is decided on."""
        self._is_answered, self._answer = True, decision

    def order(self, decision: Decision) -> None:
        """A stop is said by the next answer as well."""

    def receipt(self, sequence: int, decision: Decision) -> None:
        """None is asked for: records have them."""

    # --------------------------------------------------------------------------------------------------------------

    async def _say(self, report: Report) -> Decision | None:
        refused = malformed(report)
        if refused is not None:
            return refused
        self._is_answered = False
        pending = PendingCommits(lambda: None)
        pending.expect()
        answer = process(self._metering.node, report, self, 0, pending)
        if not isinstance(answer, Parked):
            return answer
        await self._turn()
        while not self._is_answered:
            await self._wait()
        return self._answer

    async def _wait(self) -> None:
        self._advance(self._clock.now_us() + WAIT_US)
        await self._turn()

    async def _turn(self) -> None:
        """What happens now, where nothing of it need wait."""
        now_us = self._clock.now_us()
        time_passed = now_us - self._turned_us >= STEP_US
        if time_passed:
            self._turned_us = now_us
            self._turns += 1
        await self._metering.turn(time_passed=time_passed)
        if time_passed and self._turns % HOUSE_TURNS == 0:
            self._metering.keep_house()

    def _advance(self, moment_us: int) -> None:
        """Moves the clock there, unless it is past that."""
        self._clock.advance(us=max(0, moment_us - self._clock.now_us()))


def _use_of(service: ServiceOutcome, bought: list[Reservation], until_us: int) -> ReservationUse:
    terms = [(one, min(one.end_us, until_us) - one.start_us) for one in bought]
    return ReservationUse(
        sum(one.input_tokens_per_minute * passed_us // MINUTE_US for one, passed_us in terms),
        sum(one.output_tokens_per_minute * passed_us // MINUTE_US for one, passed_us in terms),
        service.paid.reserved.input_class,
        service.paid.reserved.output_class,
    )
