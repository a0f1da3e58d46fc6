"""Two tenants of running programs that ask for proof: whatever one does, no byte of it reaches the other."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import chain
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tests.harness.programs.guarded import guarded_fleet
from tests.harness.tenants.intruder import intrude
from tests.harness.tenants.marks import OWN, THEIRS
from tests.harness.tenants.onlooker import READS, Onlookers, reads, told_of
from tests.harness.tenants.tenant import Tenant, open_shop
from tests.harness.tenants.town import Town

ROLES = {
    "owner": Role.OWNER,
    "billing": Role.BILLING,
    "viewer": Role.VIEWER,
    "meter": Role.METER,
    "team admin": Role.TEAM_ADMIN,
    "team member": Role.TEAM_MEMBER,
    "nobody": None,
}
OF_ALL = {"GetModel", "ListModels", "ListPrices", "GetSignInOptions"}
OF_THE_PLATFORM = {"GetDiagnostics", "GetTraffic", "ListPrincipals", "ListLeases", "ListNodes", "ListLeaseTotals"}
WITHOUT_WORDS = {"ListReservations", "GetAlertSettings"}
"""Reads whose answers have nothing of a tenant in them beyond what was asked: numbers and times."""
OF_A_TEAM = {Role.TEAM_ADMIN, Role.TEAM_MEMBER}
NUMBER = st.integers(0, 7)
STEP = st.tuples(st.integers(0, 15), NUMBER)
FEW = settings(
    max_examples=3,
    stateful_step_count=3,
    phases=[Phase.generate],  # A town remembers: no example can be tried again in a smaller form.
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    directory: Path = tmp_path_factory.mktemp("town")
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        try:
            fleet = runner.run(stack.enter_async_context(guarded_fleet(directory)))
            node = runner.run(fleet.start_node("node-a"))
            with grpc.insecure_channel(fleet.control.address) as control, grpc.insecure_channel(node.address) as other:
                town = Town(control, other, fleet.secrets.operator_token)
                open_shop(town)
                yield town
        finally:
            runner.run(stack.aclose())


def lived(town: Town, marks: str) -> Tenant:
    """A tenant that has done everything once, and all that comes in pairs twice."""
    tenant = Tenant(town, marks)
    for number, step in enumerate((*tenant.steps, *tenant.steps)):
        step(number)
    return tenant


@pytest.fixture(scope="module")
def onlookers(town: Town) -> Onlookers:
    own = lived(town, OWN)
    own.finish_all()
    tokens = {}
    for who, role in ROLES.items():
        scope = Scope(own.account_id, own.words["team"][0] if role in OF_A_TEAM else "")
        tokens[who] = town.token_of(f"{own.name}/serviceAccounts/{own.mark()}", role, scope)
    return Onlookers(town, own, tokens)


def test_a_tenant_sees_what_it_did(town: Town) -> None:
    """Its own marks come back to it by every list and every figure, so that others could have seen them there."""
    tenant = lived(town, THEIRS)
    telling = set()
    for call in chain.from_iterable(reads(tenant, tenant, number) for number in range(6)):
        if told_of(tenant, call.request, town.ask(call.method, call.request, tenant.owner)):
            telling.add(call.method.name)
    assert {method.name for method in READS} - telling == OF_ALL | OF_THE_PLATFORM | WITHOUT_WORDS


def test_no_byte_of_a_tenant_reaches_another(onlookers: Onlookers) -> None:
    """Neither asked for by name, nor in lists, figures, pages, the audit log, or the words of a refusal."""
    intruder = Tenant(onlookers.town, OWN)

    class Life(RuleBasedStateMachine):
        """One tenant lives; callers of another one look."""

        def __init__(self) -> None:
            super().__init__()
            self.other = Tenant(onlookers.town, THEIRS)

        @rule(steps=st.lists(STEP, min_size=3, max_size=6), who=st.sampled_from(list(ROLES)), number=NUMBER)
        def live(self, steps: list[tuple[int, int]], who: str, number: int) -> None:
            """The other does something, and then one of the callers asks for everything."""
            for step, with_what in steps:
                self.other.steps[step](with_what)
            onlookers.look(who, self.other, number)

        def teardown(self) -> None:
            """The other pries as well; then all of the callers ask for everything."""
            for call in reads(self.other, onlookers.own, 0):
                onlookers.town.ask(call.method, call.request, self.other.owner)
            intrude(intruder, self.other, 0)
            for number, who in enumerate(ROLES):
                onlookers.look(who, self.other, number)

    run_state_machine_as_test(Life, settings=FEW)
