"""Several nodes, servers and services; streams break, nodes crash, links and the database fail: the books agree."""

import itertools
from functools import reduce

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control_service.domain.bucket import Bucket
from control_service.domain.pot import Quantity
from metering_service.domain.counts import Tally
from metering_service.domain.pot import PotKind
from metering_service.domain.price import Price
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.report import Phase
from metering_service.domain.service import ServiceConfig
from tests.harness.metering.inference_servers import Job, Server
from tests.harness.metering.node_harness import Fleet, Rig
from tests.harness.metering.services import running, stopped
from tests.harness.metering.unbooked import kept, unbooked

NODES = ("a", "b", "c")
PRICE = Price(1, input=1_300_000, cached_input=400_000, output=5_700_000, reasoning=5_700_000)
TRIAL = "accounts/acme/services/trial"
PAID = "accounts/acme/services/paid"
RESERVED = "accounts/acme/services/reserved"
ALL = "accounts/acme/services/all"
SERVICES = (TRIAL, PAID, RESERVED, ALL)
ALL_OF_IT = 100
OUTAGE_US_MAX = 15_000_000
nodes = st.sampled_from(NODES)
picks = st.integers(min_value=0, max_value=1_000)


class Fleets(RuleBasedStateMachine):
    """Servers obey their grants; everything else may go wrong."""

    @initialize(quota=st.integers(0, 3_000), balance=st.integers(0, 8_000), rate=st.integers(1, 2_000))
    def begin(self, quota: int, balance: int, rate: int) -> None:
        self.fleet = Fleet(*NODES)
        self.quota, self.balance, self.rate = quota, balance, rate
        control = self.fleet.control
        reserved = {"reservation_pays": True, "reserved_input_tpm": rate, "reserved_output_tpm": rate}
        paid = {"postpaid_pays": True, "debt_allowed": True, "price": PRICE}
        self.configs: dict[str, ServiceConfig] = {
            TRIAL: running(TRIAL, trial_pays=True),
            PAID: running(PAID, **paid),
            RESERVED: running(RESERVED, **reserved),
            ALL: running(ALL, trial_pays=True, **reserved, **paid),
        }
        for config in self.configs.values():
            control.put(config)
            if config.trial_pays:
                control.trial(config, quota)
            if config.reservation_pays:
                control.reserve(config)
        control.top_up(balance)
        self.servers = [Server(self.fleet, "a"), Server(self.fleet, "b"), Server(self.fleet, "a")]
        self.ids = itertools.count(1)
        self.done: list[Job] = []
        self.outage_us: int | None = None
        for server in self.servers:
            server.connect(server.node)

    # --- what servers do -----------------------------------------------------------------------------------------

    @rule(
        pick=picks,
        count=st.integers(1, 3),
        service=st.sampled_from(SERVICES),
        input_tokens=st.integers(0, 400),
        cached=st.integers(0, 100),
        most=st.one_of(st.none(), st.integers(0, 300)),
        estimates=st.booleans(),
        actual=st.sampled_from([100, 100, 0, 40, 130]),
        exact=st.booleans(),
    )
    def authorise(
        self,
        *,
        pick: int,
        count: int,
        service: str,
        input_tokens: int,
        cached: int,
        most: int | None,
        estimates: bool,
        actual: int,
        exact: bool,
    ) -> None:
        """New requests."""
        server = self.servers[pick % len(self.servers)]
        for _ in range(count if server.stream is not None else 0):
            name = f"r{next(self.ids)}"
            job = Job(name, service, input_tokens, input_tokens * cached // 100, most)
            job.estimates, job.actual_percent, job.ends_exactly = estimates, actual, exact
            server.begin(job)

    @rule(pick=picks, tokens=st.integers(1, 600), tell=st.booleans())
    def generate(self, pick: int, tokens: int, tell: bool) -> None:
        """A request goes on, as far as its grant lets it."""
        found = self._pick(pick)
        if found is not None:
            server, job = found
            if server.stream is not None and server.stream.rig.node.leases_valid:
                job.generate(tokens)
            if tell:
                server.tell(job, Phase.PROGRESS)

    @rule(pick=picks)
    def finish(self, pick: int) -> None:
        """A request ends."""
        found = self._pick(pick)
        if found is not None and found[0].stream is not None:
            found[0].tell(found[1], Phase.FINISH)

    @rule(pick=picks, tokens=st.integers(0, 500))
    def finish_alone(self, pick: int, tokens: int) -> None:
        """A server that could not ask first."""
        server = self.servers[pick % len(self.servers)]
        if server.stream is not None:
            job = Job(f"r{next(self.ids)}", SERVICES[pick % len(SERVICES)], tokens, output_tokens=tokens // 3)
            server.jobs[job.request_id] = job
            server.tell(job, Phase.FINISH)

    @precondition(lambda self: not self.fleet.database.down)
    @rule(pick=picks, node=nodes)
    def move(self, pick: int, node: str) -> None:
        """A stream breaks; its server goes to some node that is there, which takes longer than a commit."""
        server = self.servers[pick % len(self.servers)]
        server.disconnect()
        self.fleet.run(ms=40)
        self._take_counts()
        if node in self.fleet.rigs:
            server.connect(node)

    @rule(ms=st.sampled_from([20, 60, 200, 1_000, 5_000]))
    def wait(self, ms: int) -> None:
        """Time passes, not long enough for leases to be taken back from a node that is only cut off."""
        self.fleet.run(ms=ms)
        self._take_counts()
        if self.outage_us is not None and self.fleet.clock.now_us() - self.outage_us > OUTAGE_US_MAX:
            self.heal()

    # --- what goes wrong, and right again --------------------------------------------------------------------------

    @precondition(lambda self: not self.fleet.database.down)
    @rule(node=nodes, cleanly=st.booleans())
    def lose_node(self, node: str, cleanly: bool) -> None:
        """A node crashes, leaves, or comes back."""
        rig = self.fleet.rigs.get(node)
        if rig is None:
            self.fleet.start(node)
            return
        mine = [server for server in self.servers if server.stream is not None and server.node == node]
        if cleanly and rig.online:
            self._leave(rig, mine)
        self.fleet.crash(node)
        for server in mine:
            server.lose()

    def _leave(self, rig: Rig, mine: list[Server]) -> None:
        """A shutdown, too, takes longer than a commit."""
        self.fleet.run(ms=20)
        for server in mine:
            assert server.stream is not None
            server.stream.session.leave()
        rig.commit()
        for server in mine:
            server.disconnect()
        rig.shut_down()

    @rule(node=st.sampled_from([*NODES, None]))
    def cut(self, node: str | None) -> None:
        """The link between a node and control breaks; or the metering database is gone."""
        if self.outage_us is None:
            self.outage_us = self.fleet.clock.now_us()
        if node is None:
            self.fleet.database.down = True
        elif node in self.fleet.rigs:
            self.fleet[node].linked = False

    @precondition(lambda self: self.outage_us is not None)
    @rule()
    def heal(self) -> None:
        """All that was broken answers again."""
        self.fleet.database.down = False
        for rig in self.fleet.rigs.values():
            rig.linked = True
        self.outage_us = None

    @rule(service=st.sampled_from(SERVICES), runs=st.booleans(), nanos=st.integers(0, 3_000))
    def change(self, service: str, runs: bool, nanos: int) -> None:
        """A service stops, or runs again; more money comes."""
        config = self.configs[service]
        self.fleet.control.put(config if runs else stopped(config))
        if nanos:
            self.balance += nanos
            self.fleet.control.top_up(nanos)

    @rule()
    def wait_long(self) -> None:
        """Long enough for windows to close."""
        self.heal()
        self.fleet.run(seconds=31)
        self._take_counts()

    # --- what must always be true --------------------------------------------------------------------------------

    @invariant()
    def pots_are_conserved(self) -> None:
        """Capacity = available + leased + spent, and a rate's burst is never exceeded."""
        control = self.fleet.control
        for key, pot in control.pots.items():
            leases = [lease for lease in control.leases.values() if lease.pot == key]
            assert pot.leased_units == sum(lease.outstanding_units for lease in leases)
            assert control.spent[key] == sum(lease.consumed_units for lease in leases)
            if isinstance(pot, Quantity):
                assert pot.spent_units == control.spent[key]
            if isinstance(pot, Bucket):
                assert pot.refilled(control.clock.now_us()).available_units + pot.leased_units <= self.rate

    @invariant()
    def leases_hold_what_requests_hold(self) -> None:
        """To the token and to the nano."""
        for rig in self.fleet.rigs.values():
            for service in rig.node.services.values():
                requests = {*service.open.values(), *service.finished.values()}
                requests |= {request for request, its in rig.node.silent.items() if its.service is service}
                for kind, lease in service.leases.items():
                    held = sum(unbooked(request)[kind] for request in requests)
                    assert lease.held == held + kept(rig.buffer, service)[kind], kind

    def teardown(self) -> None:
        """When every request has finished and every lease is settled, all the books agree."""
        if not hasattr(self, "fleet"):
            return
        self.heal()
        for name in NODES:
            if name not in self.fleet.rigs:
                self.fleet.start(name)
        for server in self.servers:
            server.disconnect()
        self.fleet.run(seconds=1)
        for number, server in enumerate(self.servers):
            server.connect(NODES[number])
            for job in server.jobs.values():
                if not job.finished and job.begun:
                    server.tell(job, Phase.FINISH)
        for _ in range(3):
            self.fleet.run(seconds=32)
            self._take_counts()
        self._check_requests()
        self._check_books()
        self._check_that_what_is_left_can_be_used()

    def _check_requests(self) -> None:
        records: dict[str, list[RequestRecord]] = {}
        for record in self.fleet.database.requests.values():
            records.setdefault(record.request_id, []).append(record)
            assert record.state is not RequestState.OPEN, record
        for server in self.servers:
            for job in server.jobs.values():
                _check_job(job, records.get(job.request_id, []))

    def _check_books(self) -> None:
        control, database = self.fleet.control, self.fleet.database
        receipts = [record.receipt for record in database.requests.values()]
        cells = list(database.aggregates.values())
        assert sum(cell.usage.total for cell in cells) == sum(receipt.usage.total for receipt in receipts)
        assert sum(cell.request_count for cell in cells) == len(receipts)
        for name in ("cost_nanos", "debt_nanos", "overrun_tokens"):
            assert sum(getattr(cell, name) for cell in cells) == sum(getattr(receipt, name) for receipt in receipts)
        for name in ("reserved", "trial", "billed", "unfunded"):
            tokens = sum(getattr(receipt, name).total for receipt in receipts)
            assert sum(getattr(cell, f"{name}_tokens") for cell in cells) == tokens
        for key, pot in control.pots.items():
            assert pot.leased_units == 0, key
        consumed = {
            kind: sum(lease.consumed_units for lease in database.leases.values() if lease.pot_kind is kind)
            for kind in PotKind
        }
        assert consumed == {
            kind: sum(units for key, units in control.spent.items() if key.kind.name == kind.name) for kind in PotKind
        }
        assert consumed[PotKind.MONEY] == sum(receipt.cost_nanos for receipt in receipts)
        assert consumed[PotKind.TRIAL] == sum(receipt.trial.total for receipt in receipts)
        debt_nanos = sum(receipt.debt_nanos for receipt in receipts)
        assert consumed[PotKind.MONEY] <= self.balance + debt_nanos
        for config in self.configs.values():
            assert control.spent[control.key(config.uid, PotKind.TRIAL)] <= self.quota
        assert all(receipt.overrun_tokens for receipt in receipts if receipt.debt_nanos or receipt.unfunded.total)

    def _check_that_what_is_left_can_be_used(self) -> None:
        """No phantom denial: a request that takes exactly what is available is allowed, by any node."""
        for number, (name, kind) in enumerate(((TRIAL, PotKind.TRIAL), (PAID, PotKind.MONEY))):
            config = self.fleet.control.put(self.configs[name])
            self.fleet.run(ms=20)
            units = self.fleet.control.pots[self.fleet.control.key(config.uid, kind)].available_units
            tokens = units if kind is PotKind.TRIAL else (units * 1_000_000 + 999_999) // PRICE.dearest_input
            if tokens > 0:
                server = Server(self.fleet, NODES[number])
                server.connect(server.node)
                server.begin(Job("all", name, tokens, max_output_tokens=0))
                self.fleet.run(ms=400)
                server.hear()
                assert server.jobs["all"].begun
                server.disconnect()
                self.fleet.run(seconds=45)

    def _take_counts(self) -> None:
        for server in self.servers:
            server.hear()

    def _pick(self, pick: int) -> tuple[Server, Job] | None:
        jobs = [
            (server, job) for server in self.servers for job in server.jobs.values() if job.begun and not job.finished
        ]
        return jobs[pick % len(jobs)] if jobs else None


def _check_job(job: Job, records: list[RequestRecord]) -> None:
    """Booked is what was said exactly, unless some of it was settled before; else at least what is durable."""
    booked, final, counted = sum(record.receipt.usage.total for record in records), job.final_counts, job.counts
    most = max(final.input_class, counted.input_class) + max(final.output_class, counted.output_class)
    assert booked <= most, job
    if job.acknowledged.exact:
        said = reduce(Tally.merge, [record.tally.only_exact for record in records])
        assert said.counts == final, job
        booked_before = any(record.state is RequestState.TIMED_OUT or record.receipt.revision > 1 for record in records)
        assert booked == final.total or (booked_before and booked > final.total), job
    elif not job.said.exact:
        assert job.acknowledged.counts.total <= booked, job
        assert not job.durable or booked == most or job.actual_percent != ALL_OF_IT, job


TestFleets = Fleets.TestCase
TestFleets.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
