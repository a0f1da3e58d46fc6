"""Budgets through random lives of requests over two nodes, with crashes: their pots' books agree with the records."""

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from metering_service.domain.limit import Member
from metering_service.domain.outage import tokens_of
from metering_service.domain.price import Price
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase
from metering_service.domain.request import Request
from tests.harness.metering.budgets import ACCOUNT_NAME, MONEY, booked_on, drop_budget, pot_of, put_budget
from tests.harness.metering.inference_servers import Job, Server
from tests.harness.metering.node_harness import Fleet
from tests.harness.metering.services import running

NODES = ("a", "b")
PRICE = Price(1, input=1_300_000, cached_input=400_000, output=5_700_000, reasoning=5_700_000)
PAID, ALL = f"{ACCOUNT_NAME}/services/paid", f"{ACCOUNT_NAME}/services/all"
picks = st.integers(min_value=0, max_value=1_000)
amounts = st.sampled_from([0, 1, 100, 500, 2_000, 100_000])


class BudgetedFleets(RuleBasedStateMachine):
    """Servers obey their grants; nodes crash, requests move, amounts change."""

    @initialize(tokens=amounts, money=amounts, each=amounts, balance=st.sampled_from([500, 1_000_000]))
    def begin(self, tokens: int, money: int, each: int, balance: int) -> None:
        self.fleet = fleet = Fleet(*NODES)
        paid = {"postpaid_pays": True, "debt_allowed": True, "price": PRICE}
        fleet.control.put(running(PAID, **paid))
        fleet.control.trial(fleet.control.put(running(ALL, trial_pays=True, **paid)), 700)
        fleet.control.top_up(balance)
        self.limits = [
            put_budget(fleet, tokens, "uid-tokens"),
            put_budget(fleet, money, "uid-money", kind=MONEY),
            put_budget(fleet, each, "uid-each", member=Member.EACH_SERVICE),
            put_budget(fleet, 100, "uid-soft", only_counts=True),
        ]
        self.fleet.run(ms=20)
        self.servers = [Server(fleet, name) for name in NODES]
        self.ids = itertools.count(1)
        for server in self.servers:
            server.connect(server.node)

    @rule(
        pick=picks,
        count=st.integers(1, 3),
        service=st.sampled_from([PAID, ALL]),
        input_tokens=st.integers(0, 300),
        most=st.one_of(st.none(), st.integers(0, 200)),
        actual=st.sampled_from([100, 100, 0, 40, 130]),
        exact=st.booleans(),
    )
    def authorise(
        self, *, pick: int, count: int, service: str, input_tokens: int, most: int | None, actual: int, exact: bool
    ) -> None:
        """New requests; in the end their servers may say less than they counted, or more."""
        server = self.servers[pick % 2]
        for _ in range(count if server.stream is not None else 0):
            job = Job(f"r{next(self.ids)}", service, input_tokens, max_output_tokens=most)
            job.actual_percent, job.ends_exactly = actual, exact
            server.begin(job)

    @rule(pick=picks, tokens=st.integers(1, 600))
    def generate(self, pick: int, tokens: int) -> None:
        """A request goes on, as far as its grant lets it."""
        if (found := self._pick(pick)) is not None and found[0].stream is not None:
            found[1].generate(tokens)
            found[0].tell(found[1], Phase.PROGRESS)

    @rule(pick=picks)
    def finish(self, pick: int) -> None:
        """A request ends."""
        if (found := self._pick(pick)) is not None and found[0].stream is not None:
            found[0].tell(found[1], Phase.FINISH)

    @rule(pick=picks, tokens=st.integers(0, 300))
    def finish_alone(self, pick: int, tokens: int) -> None:
        """A server that could not ask first."""
        server = self.servers[pick % 2]
        if server.stream is not None:
            job = Job(f"r{next(self.ids)}", PAID, tokens, output_tokens=tokens // 3)
            server.jobs[job.request_id] = job
            server.tell(job, Phase.FINISH)

    @rule(pick=picks, node=st.sampled_from(NODES))
    def move(self, pick: int, node: str) -> None:
        """A stream breaks; its server goes to a node that is there."""
        server = self.servers[pick % 2]
        server.disconnect()
        self.fleet.run(ms=40)
        if node in self.fleet.rigs:
            server.connect(node)

    @rule(ms=st.sampled_from([20, 60, 200, 1_000, 5_000]))
    def wait(self, ms: int) -> None:
        """Time passes."""
        self.fleet.run(ms=ms)
        for server in self.servers:
            server.hear()

    @rule(node=st.sampled_from(NODES))
    def lose_node(self, node: str) -> None:
        """A node crashes, or comes back."""
        if node not in self.fleet.rigs:
            self.fleet.start(node)
            return
        self.fleet.crash(node)
        for server in self.servers:
            if server.stream is not None and server.node == node:
                server.lose()

    @rule(which=st.integers(0, 3), amount=amounts)
    def change_amount(self, which: int, amount: int) -> None:
        """An owner sets another amount."""
        limit = self.limits[which]
        put_budget(self.fleet, amount, limit.uid, kind=limit.kind, member=limit.member, only_counts=limit.only_counts)

    @invariant()
    def leases_hold_what_requests_hold(self) -> None:
        """To the token and to the nano, on the pots of each node."""
        for rig in self.fleet.rigs.values() if hasattr(self, "fleet") else ():
            waiting = [each for each in (rig.buffer._pending, rig.buffer._in_flight) if each is not None]
            kept = [(request, units) for each in waiting for _, request, units in each.kept]
            requests = dict.fromkeys(
                request
                for service in rig.node.services.values()
                for request in (*service.open.values(), *service.finished.values())
            ) | dict.fromkeys(rig.node.silent)
            for pot in rig.node.lease_index.pots.values():
                is_money = pot.key.kind is MONEY
                held = sum(_unbooked(each, is_money=is_money) for each in requests if pot.key in each.stamp.pots)
                held += sum(
                    units.payers.money_nanos if is_money else units.tokens
                    for request, units in kept
                    if pot.key in request.stamp.pots
                )
                assert sum(lease.held for lease in pot.all_leases()) == held, pot.key

    def teardown(self) -> None:
        """At rest each pot has spent what the records say that list it, and all that is left can be used."""
        if not hasattr(self, "fleet"):
            return
        for name in NODES:
            if name not in self.fleet.rigs:
                self.fleet.start(name)
        for server in self.servers:
            server.disconnect()
        self.fleet.run(seconds=1)
        for server, node in zip(self.servers, NODES, strict=True):
            server.connect(node)
            for job in server.jobs.values():
                if not job.finished and job.begun:
                    server.tell(job, Phase.FINISH)
        self.fleet.run(seconds=100)
        records = self.fleet.database.requests.values()
        assert all(record.state is not RequestState.OPEN for record in records)
        for key in {pot for record in records for pot in record.pots}:
            pot = pot_of(self.fleet, key.limit_uid, key.member_uid, kind=key.kind)
            assert pot not in self.fleet.control.pots or self.fleet.control.pots[pot].leased_units == 0, key
            assert self.fleet.control.spent[pot] == booked_on(self.fleet, key), key
        self._check_that_what_is_left_can_be_used()

    def _check_that_what_is_left_can_be_used(self) -> None:
        """No phantom denial: a request that takes exactly what the tightest budget has left is allowed."""
        for limit in self.limits[1:]:
            drop_budget(self.fleet, limit.uid)
        self.fleet.control.top_up(1_000_000_000)
        self.fleet.run(ms=400)
        pot = self.fleet.control.pots.get(pot_of(self.fleet, "uid-tokens"))
        if pot is not None and pot.available_units > 0:
            server = self.servers[0]
            server.begin(Job("all", PAID, pot.available_units, max_output_tokens=0))
            self.fleet.run(seconds=2)
            server.hear()
            assert server.jobs["all"].begun

    def _pick(self, pick: int) -> tuple[Server, Job] | None:
        jobs = [
            (server, job) for server in self.servers for job in server.jobs.values() if job.begun and not job.finished
        ]
        return jobs[pick % len(jobs)] if jobs else None


def _unbooked(request: Request, *, is_money: bool) -> int:
    """What a request holds of a pot beyond what it has booked there."""
    if is_money:
        return request.held.money_nanos - request.booked.money_nanos
    receipt = request.receipt
    return tokens_of(request.held) - (receipt.usage.total - receipt.unfunded.total)


TestBudgetedFleets = BudgetedFleets.TestCase
TestBudgetedFleets.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
