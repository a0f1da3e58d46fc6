"""What a stream may speak of: nothing of other accounts or teams is touched by it, or learnt of."""

from dataclasses import replace

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.credential import CredentialState
from metering_service.domain.decision import Reason
from metering_service.domain.errors import CredentialRefusedError, RightsChangedError
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase
from metering_service.usecases.access import stream_access
from metering_service.usecases.meter_stream import MeterStream
from tallygate._access.rights import NO_RIGHTS, Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tests.harness.metering.credential_control import meter_of
from tests.harness.metering.node_harness import Client, Fleet, Rig, report
from tests.harness.metering.services import SERVICE, running, with_trial

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
FOREIGN = "accounts/umbrella/services/chat"
NOWHERE = "accounts/umbrella/services/none"
TEAM = Rights((Right(Role.METER, Scope("acme", "red")),))


class Caller(Client):
    """An inference server whose caller may do so much."""

    def __init__(self, rig: Rig, rights: Rights) -> None:
        super().__init__(rig)
        self.session = MeterStream(rig.node, lambda: None, rights)


@pytest.fixture
def fleet() -> Fleet:
    """A service of this account and one of another, both with a trial."""
    fleet = Fleet()
    with_trial(fleet, 1_000_000, team="red")
    other = fleet.control.put(replace(running(FOREIGN, trial_pays=True), uid="uid-foreign"))
    fleet.control.trial(other, 1_000_000)
    return fleet


@pytest.mark.parametrize("phase", [AUTHORIZE, PROGRESS, FINISH])
@pytest.mark.parametrize("service", [FOREIGN, NOWHERE, "umbrella", "accounts/umbrella", "accounts/acmes/services/chat"])
def test_a_foreign_service_is_as_none(fleet: Fleet, phase: Phase, service: str) -> None:
    """One that there is and one that there is not have the same answer, and this node does not even ask about them."""
    caller = Caller(fleet["a"], meter_of("acme"))
    decision = caller.say(report(phase, "r1", Counts(5), service=service))
    assert decision is not None
    assert (decision.reason, decision.config_version) == (Reason.UNKNOWN_SERVICE, 0)
    assert fleet["a"].node.services == {}


def test_the_own_service_is_as_ever(fleet: Fleet) -> None:
    """Also where its name was said once only; and a caller of the platform may speak of all."""
    for rights in (meter_of("acme"), meter_of("umbrella", "acme"), Rights((Right(Role.METER, PLATFORM),))):
        caller = Caller(fleet["a"], rights)
        allowed = caller.say(report(AUTHORIZE, "r1", Counts(5)))
        assert allowed is not None
        assert allowed.allowed
        caller.send(report(PROGRESS, "r1", Counts(5, output=3), service=""))
        assert fleet["a"].node.services[SERVICE].open["r1"].output_tokens == 3


def test_a_report_without_a_name_is_on_the_service_that_was_refused(fleet: Fleet) -> None:
    """A request that was refused is refused again where its next report leaves the service out."""
    caller = Caller(fleet["a"], meter_of("acme"))
    caller.say(report(AUTHORIZE, "r1", service=FOREIGN))
    decision = caller.say(report(PROGRESS, "r1", Counts(1), service=""))
    assert decision is not None
    assert decision.reason is Reason.UNKNOWN_SERVICE


def test_an_id_that_runs_elsewhere_is_not_reached(fleet: Fleet) -> None:
    """The same id on two accounts: what one caller says of it under the other's name changes nothing."""
    theirs, mine = Caller(fleet["a"], meter_of("umbrella")), Caller(fleet["a"], meter_of("acme"))
    granted = theirs.say(report(AUTHORIZE, "r1", Counts(5), service=FOREIGN))
    assert granted is not None
    assert granted.grant is not None
    mine.say(report(AUTHORIZE, "r1", Counts(5)))
    for phase in (PROGRESS, FINISH):
        mine.say(report(phase, "r1", Counts(5, output=9), service=FOREIGN, resume=granted.grant.resume))
    request = fleet["a"].node.services[FOREIGN].open["r1"]
    assert (request.output_tokens, request.session) == (0, theirs.session)


def test_a_team_reports_on_its_own_services(fleet: Fleet) -> None:
    """A caller of one team is let in on the team's services, once control has said whose they are, and on no others."""
    fleet.control.put(running("accounts/acme/services/blue", trial_pays=True, team="blue"))
    fleet.control.put(running("accounts/acme/services/shared", trial_pays=True))
    caller = Caller(fleet["a"], TEAM)
    assert caller.say(report(AUTHORIZE, "r0")) is not None
    answers = {
        name: caller.say(report(AUTHORIZE, "r1", service=f"accounts/acme/services/{name}"))
        for name in ("chat", "blue", "shared", "none")
    }
    assert {name: answer.reason for name, answer in answers.items() if answer is not None} == {
        "chat": None,
        "blue": Reason.UNKNOWN_SERVICE,
        "shared": Reason.UNKNOWN_SERVICE,
        "none": Reason.UNKNOWN_SERVICE,
    }
    assert fleet["a"].node.services["accounts/acme/services/blue"].open == {}


def test_rights_that_change_end_what_they_do_not_cover(fleet: Fleet) -> None:
    """A stream goes on while its caller may speak of all that it spoke of, and ends where that is not so."""
    caller = Caller(fleet["a"], meter_of("acme", "umbrella"))
    caller.say(report(AUTHORIZE, "r1"))
    caller.session.rights_changed(meter_of("acme"))
    assert caller.session.problem is None
    refused = caller.say(report(AUTHORIZE, "r2", service=FOREIGN))
    assert refused is not None
    assert refused.reason is Reason.UNKNOWN_SERVICE
    caller.session.rights_changed(meter_of("umbrella"))
    assert isinstance(caller.session.problem, RightsChangedError)
    assert caller.session.problem.scope == "accounts/acme"


def test_a_stream_that_spoke_of_nothing_ends_with_the_last_right(fleet: Fleet) -> None:
    """A caller who may report on nothing at all has no stream."""
    caller = Caller(fleet["a"], meter_of("acme"))
    caller.session.rights_changed(meter_of("umbrella"))
    assert caller.session.problem is None
    caller.session.rights_changed(NO_RIGHTS)
    assert isinstance(caller.session.problem, RightsChangedError)


def test_a_team_that_lost_its_service_ends(fleet: Fleet) -> None:
    """Rights on a team are judged by the team that the service has."""
    caller = Caller(fleet["a"], TEAM)
    caller.say(report(AUTHORIZE, "r1"))
    caller.session.rights_changed(Rights((*TEAM.rights, *meter_of("umbrella").rights)))
    assert caller.session.problem is None
    caller.session.rights_changed(Rights((Right(Role.METER, Scope("acme", "blue")),)))
    assert isinstance(caller.session.problem, RightsChangedError)


def test_a_service_that_was_refused_is_nothing_to_lose(fleet: Fleet) -> None:
    """A stream that once named another team's service goes on when its rights change, or are said again."""
    fleet.control.put(running("accounts/acme/services/blue", trial_pays=True, team="blue"))
    caller = Caller(fleet["a"], TEAM)
    refused = caller.say(report(AUTHORIZE, "r1", service="accounts/acme/services/blue"))
    assert refused is not None
    assert refused.reason is Reason.UNKNOWN_SERVICE
    for rights in (TEAM, Rights((*TEAM.rights, *meter_of("umbrella").rights))):
        caller.session.rights_changed(rights)
        assert caller.session.problem is None


@pytest.mark.parametrize(
    ("teams", "left", "goes_on"),
    [
        (None, ["red"], False),
        (["red", "blue"], ["red"], False),
        (["red"], ["red", "blue"], True),
        (["red"], None, True),
    ],
)
def test_a_service_that_may_be_lost_counts_as_lost(
    fleet: Fleet, teams: list[str] | None, left: list[str] | None, *, goes_on: bool
) -> None:
    """While control has not said whose a service is, what waits for that shall not be let in by former rights."""

    def rights(of: list[str] | None) -> Rights:
        return meter_of("acme") if of is None else Rights(tuple(Right(Role.METER, Scope("acme", team)) for team in of))

    fleet["a"].linked = False
    caller = Caller(fleet["a"], rights(teams))
    assert caller.say(report(AUTHORIZE, "r1", Counts(5))) is None
    caller.session.rights_changed(rights(left))
    assert (caller.session.problem is None) == goes_on
    fleet["a"].linked = True
    fleet["a"].pump()
    assert list(fleet["a"].node.services[SERVICE].open) == (["r1"] if goes_on else [])


@pytest.mark.parametrize("named", [SERVICE, ""])
def test_what_was_begun_is_booked_though_the_service_goes_to_another_team(fleet: Fleet, named: str) -> None:
    """Once, in full, as used by the team that it was begun for; and nothing more is begun."""
    caller = Caller(fleet["a"], TEAM)
    caller.say(report(AUTHORIZE, "r1", Counts(5)))
    config = fleet.control.services[SERVICE]
    fleet.control.put(replace(config, team="blue"))
    fleet.run(ms=100)
    assert fleet["a"].node.services[SERVICE].team == "blue"
    begun = [caller.say(report(AUTHORIZE, request_id, Counts(5), service=SERVICE)) for request_id in ("r1", "r2")]
    assert [decision.reason for decision in begun if decision is not None] == [Reason.UNKNOWN_SERVICE] * 2
    for _ in range(2):
        caller.send(report(PROGRESS, "r1", Counts(5, output=7), service=named))
        caller.send(report(FINISH, "r1", Counts(5, output=9), service=named))
        fleet.run(ms=100)
    (record,) = (record for record in fleet.database.requests.values() if record.service == SERVICE)
    assert (record.state, record.team, record.counts) == (RequestState.FINISHED, "red", Counts(5, output=9))


def test_what_a_broken_stream_had_open_goes_on_elsewhere(fleet: Fleet) -> None:
    """Its requests stay for the resume window as of any stream that breaks; it takes nothing more itself."""
    caller = Caller(fleet["a"], meter_of("acme"))
    granted = caller.say(report(AUTHORIZE, "r1", Counts(5)))
    caller.session.break_off(CredentialRefusedError(CredentialState.REVOKED))
    caller.send(report(PROGRESS, "r1", Counts(5, output=7)), report(AUTHORIZE, "r2"))
    service = fleet["a"].node.services[SERVICE]
    request = service.open["r1"]
    assert set(service.open) == {"r1"}
    assert (request.output_tokens, request.session) == (0, None)
    assert request in fleet["a"].node.silent
    assert granted is not None
    assert granted.grant is not None
    other = Caller(fleet["a"], meter_of("acme"))
    other.send(report(PROGRESS, "r1", Counts(5, output=7), resume=granted.grant.resume))
    assert request.output_tokens == 7


def test_what_a_stream_remembers_is_bounded(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many services it names; and what runs counts when its rights change, remembered or not."""
    monkeypatch.setattr(stream_access, "REMEMBERED_MAX", 10)
    caller = Caller(fleet["a"], meter_of("acme", "umbrella"))
    caller.say(report(AUTHORIZE, "r1", service=FOREIGN))
    for number in range(25):
        caller.say(report(AUTHORIZE, "r2", service=f"accounts/acme/services/{number}"))
    assert caller.session._access is not None
    assert len(list(caller.session._access.named)) <= 10
    caller.session.rights_changed(meter_of("acme"))
    assert isinstance(caller.session.problem, RightsChangedError)
