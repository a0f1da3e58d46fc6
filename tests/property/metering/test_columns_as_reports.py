"""Progress in columns comes to the same as reports that say the same: decisions, grants, leases, records, totals."""

from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Grant
from metering_service.domain.price import Price
from metering_service.domain.report import NO_HANDLE, Phase
from metering_service.domain.service import ServiceConfig
from tests.harness.metering.budgets import put_budget
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.rules import put_rule
from tests.harness.metering.services import SERVICE, UID, stopped, with_money, with_reservation, with_trial

NAMES: Final = ("r0", "r1", "r2", "r3")
HANDLES: Final = {"r0": 1, "r1": 2, "r2": 3, "r3": 4}
LIMITS: Final = (None, None, 20, 1_500)
FACTS: Final[dict[str, dict[str, Any]]] = {
    "both": {"trial_pays": True},
    "free": {"price": Price(3)},
    "goes on": {"outage_tokens_max": 3_000},
}
GROWTH = st.sampled_from([None, 0, 0, 1, 30, 300, 700])
"""How much more than before an entry says; None where there is no entry."""
PAYERS = st.sampled_from(["money", "trial", "both", "reservation", "free", "little", "goes on", "rule", "budget"])
SAY = st.tuples(st.just("say"), st.tuples(*[GROWTH] * len(NAMES)))
STEP = st.one_of(
    SAY,
    SAY,
    st.tuples(st.sampled_from(["report", "elsewhere", "finish", "call", "estimate"]), st.sampled_from(NAMES)),
    st.tuples(st.just("time"), st.sampled_from([20, 200, 1_000])),
    st.tuples(st.sampled_from(["stop", "cut"]), st.none()),
)


def put_service(fleet: Fleet, payer: str) -> ServiceConfig:
    if payer == "trial":
        return with_trial(fleet, 3_000)
    if payer == "reservation":
        with_reservation(fleet, 20_000)
        return fleet.control.config(SERVICE)
    config = with_money(fleet, 3_000 if payer == "little" else 10**9, **FACTS.get(payer, {}))
    if payer == "both":
        fleet.control.trial(config, 3_000)
    if payer == "rule":
        put_rule(fleet, 3_000, place=SERVICE, place_uid=UID)
    if payer == "budget":
        put_budget(fleet, 5_000, place=SERVICE, place_uid=UID)
    return config


class World:
    """Streams and calls to a node: progress is said in columns, or in reports."""

    def __init__(self, payer: str, *, by_columns: bool) -> None:
        self.by_columns = by_columns
        self.fleet = Fleet()
        self.config = put_service(self.fleet, payer)
        self.fleet.run(ms=40)
        self.client, self.other, self.call = (Client(self.fleet["a"]) for _ in range(3))
        self.call.session.keeps_open = False
        self.client.say(report(Phase.AUTHORIZE, "warm", Counts(1)))
        self.fleet.run(ms=100)
        self.said = {name: report(Phase.PROGRESS, name, Counts(10, number)) for number, name in enumerate(NAMES)}
        for name, limit in zip(NAMES, LIMITS, strict=True):
            first = self.said[name]._replace(phase=Phase.AUTHORIZE, max_output_tokens=limit)
            self.client.send(first._replace(handle=HANDLES[name] if by_columns else NO_HANDLE))
        self.fleet.run(ms=100)

    def do(self, what: str, fact: Any) -> None:
        if what == "say":
            self._say(fact)
        elif what == "time":
            self.fleet.run(ms=fact)
        elif what == "stop":
            is_stopped = self.fleet.control.config(SERVICE).status is not self.config.status
            self.fleet.control.put(self.config if is_stopped else stopped(self.config))
        elif what == "cut":
            self.fleet.control.reachable = not self.fleet.control.reachable
        elif fact in self.said:
            self._report(what, fact)
        self.fleet["a"].pump()
        self.client.hear()

    def _say(self, growths: tuple[int | None, ...]) -> None:
        growing = {name: more for name, more in zip(NAMES, growths, strict=True) if more is not None}
        entries = [name for name in growing if name in self.said]
        for name in entries:
            counts = self.said[name].counts
            self.said[name] = self.said[name]._replace(counts=counts._replace(output=counts.output + growing[name]))
        if self.by_columns:
            self.client.send_columns({HANDLES[name]: self.said[name].counts.output for name in entries})
        else:
            self.client.send(*(self.said[name] for name in entries))

    def _report(self, what: str, name: str) -> None:
        if what == "estimate":
            self.said[name] = self.said[name]._replace(estimated=True)
        by = {"elsewhere": self.other, "call": self.call}.get(what, self.client)
        if what in {"finish", "call"}:
            by.send(self.said.pop(name)._replace(phase=Phase.FINISH, want_receipt=True))
        else:
            by.send(self.said[name])

    def outcome(self) -> list[Any]:
        """What the node has decided, what it has on lease, and what it has written."""
        self.fleet.control.reachable = True
        self.fleet.run(seconds=2)
        self.client.hear()
        said = [(sequence, *outline(decision)) for sequence, decision in self.client.decisions]
        said += [(raised.sequence, *outline(raised.grant)) for raised in self.client.grants]
        leases = [
            (lease.kind, lease.granted, lease.held, lease.booked, lease.returned)
            for holder in self.fleet["a"].node.lease_index.holders.values()
            for lease in holder.all_leases()
        ]
        watermarks = self.client.answered, self.client.durable
        database, open_requests = self.fleet.database, self.fleet["a"].node.services[SERVICE].open
        running = [(name, request.tally, request.held, request.is_final) for name, request in open_requests.items()]
        return [sorted(map(str, said)), watermarks, leases, running, database.requests, database.aggregates]


def outline(said: Decision | Grant) -> tuple[Any, ...]:
    """A decision, or the grant that stands in columns for one; how long grants are valid is said apart."""
    if isinstance(said, Grant):
        return None, said.output_ceiling_tokens, said.is_final, None
    grant = said.grant
    ceiling = (None, None) if grant is None else (grant.output_ceiling_tokens, grant.is_final)
    return said.reason, *ceiling, said.receipt


@settings(max_examples=30, deadline=None)
@given(payer=PAYERS, steps=st.lists(STEP, min_size=3, max_size=15))
def test_columns_come_to_the_same_as_reports(payer: str, steps: list[tuple[str, Any]]) -> None:
    """Whoever pays, whatever else is said, and while control is away."""
    outcomes = []
    for by_columns in (True, False):
        world = World(payer, by_columns=by_columns)
        for what, fact in steps:
            world.do(what, fact)
        outcomes.append(world.outcome())
    assert outcomes[0] == outcomes[1]
