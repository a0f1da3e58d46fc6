"""Two tenants on one node: whatever one says of the other's services, nobody learns or loses anything by it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.report import Phase, Report
from metering_service.usecases.meter_stream import MeterStream
from tests.harness.metering.credential_control import meter_of
from tests.harness.metering.node_harness import Client, Fleet
from tests.harness.metering.services import running

TENANTS = ("acme", "umbrella")
SERVICES = {tenant: f"accounts/{tenant}/services/chat" for tenant in TENANTS}
NOWHERE = {tenant: f"accounts/{tenant}/services/none" for tenant in TENANTS}
TOKENS_EACH, SECONDS_TO_BOOK_ALL = 2_000, 33


@dataclass(frozen=True)
class Step:
    """What one tenant's server does. `of`: whose service it names; `token_of`: whose resume token it shows, if any."""

    who: str
    what: str
    of: str
    phase: Phase
    request_id: str
    counts: Counts
    token_of: str

    @property
    def is_hostile(self) -> bool:
        """Whether it names what is not its own."""
        return self.what == "report" and self.of != self.who

    @property
    def shows_foreign_token(self) -> bool:
        return self.what == "report" and self.token_of not in ("", self.who)


tenants, counts = st.sampled_from(TENANTS), st.integers(0, 60)
STEPS = st.lists(
    st.builds(
        Step,
        who=tenants,
        what=st.sampled_from(["report"] * 8 + ["break", "wait"]),
        of=tenants,
        phase=st.sampled_from(list(Phase)),
        request_id=st.sampled_from(["r1", "r2"]),
        counts=st.builds(
            lambda input_tokens, output_tokens: Counts(input_tokens, output=output_tokens), counts, counts
        ),
        token_of=st.sampled_from(["", *TENANTS]),
    ),
    max_size=30,
)


@dataclass
class World:
    """A node with both tenants' services, and a stream of each tenant."""

    fleet: Fleet = field(default_factory=Fleet)
    clients: dict[str, Client] = field(default_factory=dict)
    tokens: dict[str, bytes] = field(default_factory=dict)
    own: dict[str, list[Decision | None]] = field(default_factory=lambda: {tenant: [] for tenant in TENANTS})
    foreign: list[Decision | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        for tenant, name in SERVICES.items():
            config = self.fleet.control.put(replace(running(name, trial_pays=True), uid=f"uid-{tenant}"))
            self.fleet.control.trial(config, TOKENS_EACH)
            self.connect(tenant)

    def connect(self, tenant: str) -> None:
        if tenant in self.clients:
            self.clients[tenant].close()
        client = self.clients[tenant] = Client(self.fleet["a"])
        client.session = MeterStream(self.fleet["a"].node, lambda: None, meter_of(tenant))

    def do(self, step: Step, service: str = "") -> None:
        """`service`: named in place of the step's own one."""
        if step.what == "break":
            self.connect(step.who)
        elif step.what == "wait":
            self.fleet.run(ms=20)
        else:
            self._report(step, service or SERVICES[step.of])

    def _report(self, step: Step, service: str) -> None:
        resume = self.tokens.get(step.token_of, b"")
        said = Report(step.request_id, service, step.phase, step.counts, resume=resume)
        decision = self.clients[step.who].say(said)
        if step.is_hostile:
            self.foreign.append(decision)
            return
        self.own[step.who].append(decision)
        if decision is not None and decision.grant is not None:
            self.tokens[step.who] = decision.grant.resume

    def end(self) -> None:
        """Both leave, and all is booked."""
        for client in self.clients.values():
            client.close()
        self.fleet.run(seconds=SECONDS_TO_BOOK_ALL)

    def books(self, tenant: str) -> Any:
        """All that is on record of a tenant, by what others may know of it as well: parts are numbered by the node."""
        records = [one for key, one in sorted(self.fleet.database.requests.items()) if one.service == SERVICES[tenant]]
        denials = {key: count for key, count in self.fleet.database.denials.items() if SERVICES[tenant] in key}
        return [(one.request_id, one.state, one.counts, one.receipt, one.start_us) for one in records], denials


def world_of(steps: Sequence[Step], services: dict[str, str] | None = None) -> World:
    """What comes of these steps. `services`: what hostile steps name, by tenant, in place of what there is."""
    world = World()
    for step in steps:
        world.do(step, (services or {}).get(step.of, "") if step.is_hostile else "")
    world.end()
    return world


def without_parts(decisions: Sequence[Decision | None]) -> list[Decision | None]:
    """Without what depends on how many parts the node has numbered."""
    return [
        one._replace(grant=one.grant._replace(resume=b"")) if one is not None and one.grant is not None else one
        for one in decisions
    ]


@settings(max_examples=40)
@given(STEPS)
def test_what_is_said_of_others_changes_nothing(steps: list[Step]) -> None:
    """Decisions, records and denials of each tenant are as if nobody had named what is not their own."""
    noisy, quiet = world_of(steps), world_of([step for step in steps if not step.is_hostile])
    for tenant in TENANTS:
        assert noisy.own[tenant] == quiet.own[tenant]
        assert noisy.books(tenant) == quiet.books(tenant)


@settings(max_examples=40)
@given(STEPS)
def test_what_is_said_of_others_is_answered_as_of_nothing(steps: list[Step]) -> None:
    """Each answer is the one that a service gets which there is not, and none says anything of a request."""
    real, nothing = world_of(steps), world_of(steps, NOWHERE)
    assert real.foreign == nothing.foreign
    for decision in real.foreign:
        assert decision is not None
        assert decision == Decision(
            decision.request_id, Reason.UNKNOWN_SERVICE, Reason.UNKNOWN_SERVICE.sentence, config_version=0
        )
    assert real.fleet["a"].node.services.keys() <= set(SERVICES.values())


@settings(max_examples=40)
@given(STEPS)
def test_a_tenant_alone_is_decided_on_as_beside_another(steps: list[Step]) -> None:
    """What one tenant is told does not depend on what the other one runs; ids are the same on purpose."""
    own = [step for step in steps if not (step.is_hostile or step.shows_foreign_token)]
    both, alone = world_of(own), world_of([step for step in own if step.who == TENANTS[0] or step.what == "wait"])
    assert without_parts(both.own[TENANTS[0]]) == without_parts(alone.own[TENANTS[0]])
