"""A key leads a stream nowhere beyond what its caller may meter, and nothing is learnt of what lies there."""

import pytest

from metering_service.domain.api_key import KeyProblem
from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.report import Phase
from metering_service.usecases.meter_stream import MeterStream
from tallygate._access.rights import Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tests.harness.metering.credential_control import meter_of
from tests.harness.metering.keys import DEFAULT, allowed, by_key, is_invalid, with_key
from tests.harness.metering.node_harness import Client, Rig, report

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


class Caller(Client):
    """An inference server whose caller may do so much."""

    def __init__(self, rig: Rig, rights: Rights) -> None:
        super().__init__(rig)
        self.session = MeterStream(rig.node, lambda: None, rights)


@pytest.mark.parametrize(
    ("rights", "problem"),
    [
        (meter_of("umbrella"), KeyProblem.OUTSIDE_METER),
        (Rights((Right(Role.METER, Scope("acme", "blue")),)), KeyProblem.NO_SERVICE),
    ],
)
def test_a_key_leads_nowhere_beyond_what_the_stream_may_meter(rights: Rights, problem: KeyProblem) -> None:
    """As if the key was wrong: of another account, or of another team."""
    fleet = with_key(config={"team": "red"})
    caller = Caller(fleet["a"], rights)

    decision = caller.say(by_key(AUTHORIZE, "k"))

    assert is_invalid(decision)
    assert decision is not None
    assert (decision.key_problem, decision.config_version, decision.service) == (problem, 0, "")
    finish = caller.say(by_key(FINISH, "k", "r2", Counts(5)))
    assert finish is not None
    assert (finish.reason, finish.service) == (Reason.UNKNOWN_SERVICE, "")
    fleet.run(seconds=1)
    assert fleet.database.requests == {}


@pytest.mark.parametrize(
    "rights",
    [meter_of("acme"), Rights((Right(Role.METER, PLATFORM),)), Rights((Right(Role.METER, Scope("acme", "red")),))],
)
def test_a_key_leads_where_the_stream_may_meter(rights: Rights) -> None:
    """And what follows is about that service."""
    fleet = with_key(config={"team": "red"})
    caller = Caller(fleet["a"], rights)

    assert allowed(caller.say(by_key(AUTHORIZE, "k"))).service == DEFAULT

    caller.send(report(PROGRESS, "r1", Counts(0, output=3), service=""))
    assert fleet["a"].node.services[DEFAULT].open["r1"].output_tokens == 3


def test_a_stream_that_loses_its_rights_while_a_key_is_looked_up_leads_nowhere() -> None:
    """It is judged by what its caller may do by then."""
    fleet = with_key()
    caller = Caller(fleet["a"], meter_of("acme", "umbrella"))
    caller.send(by_key(AUTHORIZE, "k"))

    caller.session.rights_changed(meter_of("umbrella"))
    fleet["a"].pump()

    assert is_invalid(caller.said(1))
