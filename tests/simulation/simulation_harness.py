"""One simulation: a fleet made from a seed, its end users, its operators, whatever goes wrong, and the healing."""

import asyncio
import hashlib
import itertools
from collections import Counter, deque
from typing import Any

from control_service.storage.database import MIGRATIONS as CONTROL_MIGRATIONS
from metering_service.storage import MIGRATIONS as METERING_MIGRATIONS
from tests.simulation import faults, invariants, progress_rules, strays, whole_answers
from tests.simulation.chance import Chance
from tests.simulation.credentials import Credentials
from tests.simulation.database import SimulatedDatabase
from tests.simulation.jobs import Job
from tests.simulation.keys import Keys, Shown
from tests.simulation.limits import Limits
from tests.simulation.loop import PARTY, SimulatedLoop
from tests.simulation.network import Network
from tests.simulation.people import People
from tests.simulation.ports import Disk
from tests.simulation.processes import ControlProcess, MeteringProcess
from tests.simulation.servers import InferenceServer
from tests.simulation.slot_returns import SlotReturns

TROUBLE_S = (60.0, 110.0)
"""For so long things go wrong: at least, at most."""
STORM_S = (80.0, 130.0)
"""The same in a storm."""
ARRIVAL_S_MAX, STORM_ARRIVAL_S_MAX = 2.5, 1.5
"""Longest time between two bursts of requests."""
HEAL_S = 340.0
"""Longer than every window of the product: by then all that was left behind is settled; most often it is sooner."""
LOOK_S = 1.0
REST_S = 3.0
"""For so long nothing may change any more once the books agree."""
TAIL = 80
PATIENCE = 6
"""Number of times that end users ask again, as clients do."""
STRAYS_IN = 4
"""Every such seed has one more request go astray in the end: it takes longer than all other healing."""


class Violation(AssertionError):  # noqa: N818  # what it is called everywhere
    """Something that must always be true is not."""


class World:
    """Everything of one seed."""

    def __init__(  # noqa: PLR0915  # a list of what there is
        self,
        seed: int,
        *,
        replicas: int | None = None,
        storm: bool = False,
        credentials: bool = False,
        limits: bool = False,
        keys: bool = False,
    ) -> None:
        """`replicas`: how many of control there are; None: one to three, as the seed has it.

        `storm`: whether faults follow upon each other so fast that few requests begin. `credentials`: whether servers
        have to prove who they are. `limits`: whether accounts have budgets. `keys`: whether end users show API keys.
        """
        self.seed, self.storm, self._replicas = seed, storm, replicas
        self.loop = SimulatedLoop()  # type: ignore[abstract]  # what nobody calls is not there
        self.chance = Chance(seed)
        self.network = Network(self.loop, self.chance)
        self._written = asyncio.Event()
        self.control = SimulatedDatabase(CONTROL_MIGRATIONS, self._written.set)
        self.metering = SimulatedDatabase(METERING_MIGRATIONS, self._written.set)
        self.control_disk, self.metering_disk = Disk(self.chance), Disk(self.chance)
        self.control_disk.has_stamps = seed % 2 == 0
        self.denials: Counter[str] = Counter()
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._hash = hashlib.sha256()
        self._ids = itertools.count(1)
        self._starts: Counter[str] = Counter()
        self.controls: dict[str, ControlProcess | None] = {}
        self.nodes: dict[str, MeteringProcess | None] = {}
        self.servers: list[InferenceServer] = []
        self.jobs: list[Job] = []
        self.people = People(self)
        self.credentials = Credentials(self, are_shown=credentials)
        self.limits = Limits(self, are_set=limits)
        self.keys = Keys(self, are_shown=keys)
        self.slot_returns = SlotReturns(self)
        self.restoring = False
        """A database is being put back to an older copy, and people have not recovered yet."""
        self.is_cut_off = False
        """No node reaches control."""
        self.lost_records = False
        """The metering database was."""
        self.unbooked: set[str] = set()
        """Leases on what a restored control database does not know any more."""
        self.moved: dict[str, int] = {}
        """By lease: what requests held of the lease before it when control closed that one."""
        self.work: list[asyncio.Future[None]] = []
        """What people have begun and will end, healed or not."""
        self.gone_on: dict[tuple[str, str], int] = {}
        """Tokens that a node last went on with of a service, while it was cut off from control."""
        self.exchanges: Counter[str] = Counter()
        """By replica: how many exchanges of leases it answered."""
        self.group_sizes: Counter[int] = Counter()
        """Transactions for exchanges of leases, of all replicas, by how many exchanges were in them."""
        self.wrongs: list[str] = []
        """What was seen inside of a service, where nothing may be raised."""
        self._seen = (0, 0)
        """How far control's and the metering database's changes were looked at."""

    # --- for everybody in it ---------------------------------------------------------------------------------------

    def new_id(self) -> str:
        """Unique in this world."""
        return f"00000000-0000-0000-0000-{next(self._ids):012}"

    def new_secret(self) -> bytes:
        """A key that nobody guesses who does not look here."""
        return hashlib.sha256(self.new_id().encode()).digest()

    def note(self, what: str) -> None:
        """One line of the trace."""
        party = PARTY.get()
        line = f"{self.loop.now_s:12.6f} {party or '-'!s:<12} {what}"
        self._hash.update(line.encode())
        self.tail.append(line)

    @property
    def trace_hash(self) -> str:
        """The same for the same seed, always and everywhere."""
        return self._hash.hexdigest()[:16]

    def check(self, holds: bool, what: str) -> None:
        """Raises Violation unless it holds."""
        if not holds:
            raise Violation(what)

    def some_control(self) -> ControlProcess | None:
        """A replica, as a client would find one."""
        there = [process for process in self.controls.values() if process is not None]
        return self.chance.pick(there) if there else None

    def some_node(self) -> MeteringProcess | None:
        """A node that serves, as a client would find one."""
        there = [process for process in self.nodes.values() if process is not None and process.serving]
        return self.chance.pick(there) if there else None

    @property
    def epochs(self) -> int:
        """How many the nodes have begun by now, all together."""
        (row,) = self.metering.rows("SELECT coalesce(sum(epoch), 0) AS count FROM nodes")
        return int(row["count"])

    @property
    def alive_servers(self) -> list[InferenceServer]:
        """Those that have not crashed."""
        return [server for server in self.servers if not server.party.dead]

    def start_control(self, name: str) -> None:
        """Start a replica, or start it again."""
        self._starts[name] += 1
        self.controls[name] = ControlProcess(self, name, self._starts[name])

    def start_node(self, name: str) -> None:
        """Start a node, or start it again."""
        self._starts[name] += 1
        self.nodes[name] = MeteringProcess(self, name, self._starts[name])

    def start_server(self) -> None:
        """Start one more inference server."""
        self.servers.append(InferenceServer(self, len(self.servers), self.credentials.next_token()))

    def servers_of(self, service: str) -> list[InferenceServer]:
        """Those that are there and may speak of a service."""
        return [server for server in self.alive_servers if server.token.speaks_of(service)]

    # --- its course ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """From the beginning to the last look into the books. Raises Violation, or what the code under test does."""
        try:
            self.loop.run_until_complete(self._run())
        finally:
            self.loop.put_away()
            self.control.close()
            self.metering.close()

    async def _run(self) -> None:
        chance = self.chance
        chance.calm = True
        # Drawn also where it is given, so that the seed draws the same of all else.
        drawn = chance.integer(1, 3)
        for number in range(self._replicas or drawn):
            self.start_control(f"control{number}")
        await self.people.found()
        await self.credentials.found()
        await self.keys.found()
        await self.limits.found()
        for number in range(chance.integer(1, 4)):
            self.start_node(f"node{number}")
        for _ in range(chance.integer(2, 6)):
            self.start_server()
        await asyncio.sleep(2.0)
        chance.rates, chance.calm = faults.rates(chance), False
        watch = asyncio.gather(
            self._watch(), self._keep_running(), self.people.trouble(), self.credentials.admissions.watch()
        )
        work = [
            asyncio.ensure_future(self._end_users()),
            asyncio.ensure_future(faults.strike(self)),
            asyncio.ensure_future(self.credentials.trouble()),
            asyncio.ensure_future(self.limits.trouble()),
            asyncio.ensure_future(self.keys.trouble()),
        ]
        await self._sleep(chance.uniform(*(STORM_S if self.storm else TROUBLE_S)), watch)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        chance.calm = True
        faults.heal(self)
        self.note("healed")
        self.work += self.credentials.healing()
        if whole_answers.in_seed(self.seed):
            self.work.append(asyncio.ensure_future(whole_answers.end(self)))
        if self.seed % STRAYS_IN == 0:
            self.work.append(asyncio.ensure_future(strays.one_more(self, list(self.work))))
        end_s = self.loop.now_s + HEAL_S
        while self.loop.now_s < end_s and not await self._rests(watch):
            await self._sleep(LOOK_S, watch)
        self.look()
        self._check_end()
        (overrun,) = self.metering.rows("SELECT coalesce(sum(overrun_tokens), 0) tokens FROM requests")
        chance.struck["overrun tokens"] = overrun["tokens"]
        chance.struck["tokens in an outage of control"] = sum(self.gone_on.values())
        watch.cancel()

    async def _rests(self, watch: "asyncio.Future[Any]") -> bool:
        """Whether all is settled, and still is a little later: nodes may yet take what they keep in reserve."""
        if not self._is_settled():
            return False
        await self._sleep(REST_S, watch)
        return self._is_settled()

    def _is_settled(self) -> bool:
        try:
            self._check_end()
        except Violation:
            return False
        return True

    def _check_end(self) -> None:
        """Every request has been finished by its server, or given up by the fleet, and all books agree."""
        for errand in self.work:
            self.check(errand.done(), "a recovery never ends")
            errand.result()
        for server in self.servers:
            for job in server.jobs.values():
                if not server.party.dead:
                    self.check(job.finished, f"{job.request_id} never ends")
                    self.check(job.durable, f"the finish of {job.request_id} is never durable")
        invariants.check_books(self)
        whole_answers.check_holds(self)
        self.limits.check_books()
        self.keys.checks.check_books()

    async def _sleep(self, seconds: float, watch: "asyncio.Future[Any]") -> None:
        await asyncio.wait([watch], timeout=seconds)
        if watch.done():
            watch.result()

    async def _watch(self) -> None:
        """Looks at everything after each transaction, or some at once."""
        while True:
            await self._written.wait()
            await asyncio.sleep(0.01)
            self._written.clear()
            self.look()

    def look(self) -> None:
        """What must be true at every moment."""
        for failure in self.loop.failures:
            error = failure.get("exception")
            if error is not None and "never retrieved" not in failure.get("message", ""):
                raise error
        self.loop.failures.clear()
        self.check(not self.wrongs, "; ".join(self.wrongs))
        # What is in a database is only looked at where it was changed; what is in a node's memory always may be.
        before, self._seen = self._seen, (self.control.changes, self.metering.changes)
        if before[0] != self._seen[0]:
            invariants.check_pots(self)
            self.limits.check_pots()
        if before != self._seen:
            invariants.check_leases(self)
        invariants.check_nodes(self)
        progress_rules.check_running(self)

    async def _keep_running(self) -> None:
        """A supervisor: whoever ended by itself is started again."""
        while True:
            await asyncio.sleep(self.chance.uniform(0.2, 2.0))
            for name, process in list(self.nodes.items()):
                if process is not None and process.main.done():
                    if not process.main.cancelled() and process.main.exception() is not None:
                        process.main.result()
                    self.start_node(name)

    async def _end_users(self) -> None:
        """Requests, in bursts."""
        chance = self.chance
        while True:
            await asyncio.sleep(chance.uniform(0.05, STORM_ARRIVAL_S_MAX if self.storm else ARRIVAL_S_MAX))
            drawn = chance.pick(self.alive_servers)
            if drawn.party.paused:
                continue
            for _ in range(chance.integer(1, 4) if chance.once_in(3) else 1):
                job = self.job(self._asked_in_storm() if self.storm else self._asked())
                job.patience = 0 if self.storm else PATIENCE
                server = self.credentials.server_for(job.service, drawn)
                server.begin(strays.disguised(self, server, job))

    def _asked_in_storm(self) -> str:
        """The service that an end user asks, whatever is known of it."""
        if self.is_cut_off and self.chance.once_in(2):
            return self.people.steady
        return self.chance.pick(self.people.service_names)

    def _asked(self) -> str:
        """The service that an end user asks: now and then also one that is known not to serve."""
        chance = self.chance
        if chance.once_in(4):
            return chance.pick(self.people.service_names)
        if self.is_cut_off:
            return self.people.steady
        names = self.people.service_names
        return chance.pick([name for name in names if name not in self.people.stopped] or names)

    def may_go_on(self) -> bool:
        """Whether some node could go on serving a service without control."""
        nodes = [process.assembly.node for process in self.nodes.values() if process is not None and process.assembly]
        states = [node.services.get(self.people.steady) for node in nodes]
        return any(lease.granted for state in states if state is not None for lease in state.leases.values())

    def shown(self, request_id: str) -> Shown | None:
        """The API key that the end user of a request that asks shows."""
        number = request_id[1:].partition(".")[0]
        return self.jobs[int(number) - 1].shown if request_id[0] == "r" else None

    def job(self, service: str) -> Job:
        """A request that an end user makes of a service."""
        chance = self.chance
        input_tokens = chance.integer(0, 600)
        target = chance.pick((0, 1, 5, 40, 120, 400, 1_500))
        job = Job(
            f"r{len(self.jobs) + 1}",
            service,
            input_tokens,
            input_tokens * chance.pick((0, 0, 30, 100)) // 100,
            target,
            max_output_tokens=chance.pick((None, None, target, target + 50)),
            asks=not chance.once_in(12),
            late=chance.once_in(15),
        )
        self.jobs.append(job)
        job.whole = whole_answers.is_whole(self, job)
        job.hold_s = whole_answers.hold_s(job)
        self.keys.give(job)
        return job
