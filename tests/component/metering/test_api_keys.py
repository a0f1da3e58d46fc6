"""API keys at a node: which service they lead to, what is recorded of them, and how they are refused."""

from dataclasses import replace
from typing import Any

import pytest

from metering_service.domain.api_key import KeyProblem, KeyState
from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.network import parse_network
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase
from metering_service.domain.service import ServiceConfig, Status
from tests.harness.metering.keys import DEFAULT, MODEL, allowed, by_key, is_invalid, sha256, warm, with_key
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import running

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


def record_of(fleet: Fleet, request_id: str = "r1") -> Any:
    return next(record for record in fleet.database.requests.values() if record.request_id == request_id)


def test_a_key_and_a_model_lead_to_a_service_that_the_decision_names() -> None:
    """Control is asked about key and model at once, and then about the service; later reports need not name it."""
    fleet = with_key()
    client, rig = Client(fleet["a"]), fleet["a"]

    decision = allowed(client.say(by_key(AUTHORIZE, "k", counts=Counts(10))))

    assert decision.service == DEFAULT
    assert rig.key_questions == [((sha256("k"),), ("llama",))]
    assert client.say(report(PROGRESS, counts=Counts(10, output=3), service="")) is None
    assert client.say(report(FINISH, counts=Counts(10, output=5), service="")) is None
    fleet.run(seconds=1)
    record = record_of(fleet)
    assert (record.service, record.credential, record.state) == (DEFAULT, "uid-k", RequestState.FINISHED)
    assert {key.credential for key in fleet.database.aggregates} == {"uid-k"}


def test_a_warm_key_is_decided_on_at_once_and_control_is_not_asked_again() -> None:
    """As with a service that is known."""
    fleet = with_key()
    client = warm(fleet, "k")

    client.send(by_key(AUTHORIZE, "k"))

    assert allowed(client.said(client.sequence)).service == DEFAULT
    assert len(fleet["a"].key_questions) == 1


def test_an_explicit_service_is_not_named_again_and_its_model_is_not_asked_about() -> None:
    """What the server calls its model need not be what the catalogue does."""
    fleet = with_key()
    client = Client(fleet["a"])

    decision = allowed(client.say(by_key(AUTHORIZE, "k", service=DEFAULT, model="whatever")))

    assert decision.service == ""
    assert fleet["a"].key_questions == [((sha256("k"),), ())]


@pytest.mark.parametrize(
    ("key", "config", "report_with", "problem"),
    [
        ({"state": KeyState.REVOKED}, {}, {}, KeyProblem.REVOKED),
        ({"state": KeyState.EXPIRED}, {}, {}, KeyProblem.EXPIRED),
        ({"name": "accounts/other/keys/k"}, {}, {"service": DEFAULT}, KeyProblem.FOREIGN),
        ({"name": "accounts/other/keys/k"}, {}, {}, KeyProblem.NO_SERVICE),
        ({"services": frozenset({"accounts/acme/services/chat"})}, {}, {"service": DEFAULT}, KeyProblem.SERVICE),
        ({"services": frozenset({"accounts/acme/services/chat"})}, {}, {}, KeyProblem.NO_ROUTE),
        ({"models": frozenset({"models/other"})}, {}, {"service": DEFAULT}, KeyProblem.MODEL),
        ({"models": frozenset({"models/other"})}, {}, {}, KeyProblem.MODEL),
        ({}, {}, {"model": "no such model"}, KeyProblem.MODEL),
        ({"routes": {MODEL: "accounts/acme/services/gone"}}, {}, {}, KeyProblem.NO_SERVICE),
        ({"team": "red"}, {"team": "blue"}, {}, KeyProblem.TEAM),
        ({"networks": (parse_network("192.0.2.0/24"),)}, {}, {"source_address": "198.51.100.1"}, KeyProblem.ADDRESS),
        ({"networks": (parse_network("192.0.2.0/24"),)}, {}, {}, KeyProblem.ADDRESS),
    ],
)
def test_whatever_is_wrong_with_a_key_is_refused_in_one_form(
    key: dict[str, Any], config: dict[str, Any], report_with: dict[str, Any], problem: KeyProblem
) -> None:
    """No pot is touched, and the denial is counted without the key. What it was stays in the node."""
    fleet = with_key(**key, config=config)
    client = Client(fleet["a"])

    decision = client.say(by_key(AUTHORIZE, "k", **report_with))

    assert is_invalid(decision)
    assert decision is not None
    assert decision.key_problem is problem
    assert not any(lease.held for service in fleet["a"].node.services.values() for lease in service.leases.values())
    fleet.run(seconds=1)
    assert {denial.credential for denial in fleet.database.denials} <= {""}
    assert fleet.database.requests == {}


def test_a_denial_of_a_service_that_a_key_may_use_names_service_and_key() -> None:
    """The end user's edge learns of which service it speaks, and the owner with which key."""
    fleet = with_key()
    fleet.control.put(replace(fleet.control.services[DEFAULT], status=Status.NOT_ENABLED, trial_pays=False))
    client = Client(fleet["a"])

    decision = client.say(by_key(AUTHORIZE, "k"))

    assert decision is not None
    assert (decision.reason, decision.service) == (Reason.NOT_ENABLED, DEFAULT)
    fleet.run(seconds=1)
    assert [(denial.credential, denial.reason) for denial in fleet.database.denials] == [("uid-k", "NOT_ENABLED")]


def test_a_deleted_service_is_never_replaced_by_the_default_one() -> None:
    """A route that leads nowhere refuses."""
    gone = "accounts/acme/services/gone"
    fleet = with_key(routes={MODEL: gone})
    fleet.control.put(ServiceConfig(gone, Status.DELETED, uid="uid-gone", model=MODEL))
    client = Client(fleet["a"])

    assert is_invalid(client.say(by_key(AUTHORIZE, "k")))


@pytest.mark.parametrize(
    ("shown", "requires_key", "passes"),
    [("", False, True), ("nobody's", False, True), ("", True, False), ("nobody's", True, False)],
)
def test_a_service_lets_in_requests_without_a_key_unless_it_requires_one(
    shown: str, requires_key: bool, passes: bool
) -> None:
    """Absent or nobody's: an open service records it without a key."""
    fleet = with_key(config={"requires_key": requires_key})
    client = Client(fleet["a"])
    more: dict[str, Any] = {"key_sha256": sha256(shown)} if shown else {}

    decision = client.say(report(AUTHORIZE, service=DEFAULT, **more))

    assert decision is not None
    assert decision.allowed is passes
    assert passes or is_invalid(decision)
    client.say(report(FINISH, counts=Counts(1), service=""))
    fleet.run(seconds=1)
    assert {record.credential for record in fleet.database.requests.values()} == {""}


def test_an_open_service_holds_a_key_that_somebody_has_to_all_it_says() -> None:
    """Else a revoked key would open what no key opens."""
    fleet = with_key(state=KeyState.REVOKED)

    assert is_invalid(Client(fleet["a"]).say(by_key(AUTHORIZE, "k", service=DEFAULT)))


def test_a_key_of_nobody_leads_nowhere_and_is_pushed_when_it_is_made() -> None:
    """Whoever follows its hash as unknown hears of it."""
    fleet = with_key()
    client = Client(fleet["a"])
    assert is_invalid(client.say(by_key(AUTHORIZE, "new")))

    fleet.control.put_key("new")

    fleet["a"].pump()
    assert allowed(client.say(by_key(AUTHORIZE, "new", "r2"))).service == DEFAULT


def test_what_no_model_is_named_for_goes_where_the_key_leads_alone() -> None:
    """One route, or one listed service; where there are several, the report lacks a field."""
    chat = "accounts/acme/services/chat"
    fleet = with_key(service=chat, services=frozenset({chat}))
    client = Client(fleet["a"])
    assert allowed(client.say(by_key(AUTHORIZE, "k", model=""))).service == chat

    fleet.control.put_key("k")

    fleet["a"].pump()
    decision = client.say(by_key(AUTHORIZE, "k", "r2", model=""))
    assert decision is not None
    assert decision.reason is Reason.INVALID_REPORT
    assert "model" in decision.message


def test_a_repeated_authorisation_with_another_key_is_malformed() -> None:
    """The same one, or another secret of the same key, repeats the grant."""
    fleet = with_key()
    fleet.control.put_key("rotated", name="accounts/acme/keys/k", uid="uid-k")
    fleet.control.put_key("other")
    client = warm(fleet, "k")
    first = allowed(client.say(by_key(AUTHORIZE, "k", counts=Counts(10)))).grant

    assert allowed(client.say(by_key(AUTHORIZE, "k", counts=Counts(10)))).grant == first
    assert allowed(client.say(by_key(AUTHORIZE, "rotated", counts=Counts(10)))).grant == first
    assert allowed(client.say(report(AUTHORIZE, counts=Counts(10), service=""))).grant == first
    decision = client.say(by_key(AUTHORIZE, "other", counts=Counts(10)))

    assert decision is not None
    assert decision.reason is Reason.INVALID_REPORT


def test_two_keys_may_use_one_id_on_one_stream_each_for_its_own_service() -> None:
    """An id is unique in its service only: what ran before under it does not decide where a key leads."""
    fleet = with_key()
    theirs = "accounts/other/services/default-llama"
    fleet.control.put(running(theirs, model=MODEL))
    fleet.control.put_key("theirs", name="accounts/other/keys/theirs")
    client = Client(fleet["a"])
    allowed(client.say(by_key(AUTHORIZE, "k")))
    client.say(report(FINISH, service=""))

    decision = client.say(by_key(AUTHORIZE, "theirs"))

    assert decision is not None
    assert decision.service == theirs


@pytest.mark.parametrize("state", list(KeyState))
def test_a_finish_that_nobody_authorised_is_recorded_with_its_key_be_it_an_old_one(state: KeyState) -> None:
    """It is answered with a refusal, unless the key is valid. One that nobody has leads to no service."""
    fleet = with_key(state=state)
    client = Client(fleet["a"])

    client.say(by_key(FINISH, "k", counts=Counts(10, output=5), want_receipt=True))

    fleet.run(seconds=1)
    decision = client.said(1)
    assert decision is not None
    if state is KeyState.UNKNOWN:
        assert decision.reason is Reason.UNKNOWN_SERVICE
        assert fleet.database.requests == {}
        return
    assert decision.reason is (None if state is KeyState.VALID else Reason.CREDENTIAL_INVALID)
    assert decision.receipt is not None
    record = record_of(fleet)
    assert (record.service, record.credential, record.counts.total) == (DEFAULT, "uid-k", 15)


def test_work_without_a_key_that_a_service_requires_is_recorded_and_told_to_stop() -> None:
    """A server that asks for no leave gets none by going on."""
    fleet = with_key(config={"requires_key": True})
    client = Client(fleet["a"])

    for output in (1, 2):
        assert is_invalid(client.say(report(PROGRESS, counts=Counts(10, output=output), service=DEFAULT)))

    client.say(report(FINISH, counts=Counts(10, output=3), service=""))
    fleet.run(seconds=1)
    assert record_of(fleet).counts.total == 13


def test_a_finish_before_its_service_is_known_waits_for_that() -> None:
    """Its server has given up: what follows on the stream is about the same key."""
    fleet = with_key()
    client = Client(fleet["a"])
    client.send(by_key(AUTHORIZE, "k", counts=Counts(10)), report(FINISH, counts=Counts(10), service=""))

    fleet["a"].pump()
    fleet.run(seconds=1)
    client.hear()

    assert (client.answered, client.durable) == (2, 2)
    assert record_of(fleet).counts.total == 10
    assert fleet["a"].node.waiting_count == 0


def test_without_control_an_unknown_key_is_neither_right_nor_wrong() -> None:
    """A key that is known goes on as before."""
    fleet = with_key()
    client = warm(fleet, "k")
    fleet.control.reachable = False

    client.say(by_key(AUTHORIZE, "new", "r1"))
    client.say(by_key(AUTHORIZE, "new", "r2", service=DEFAULT))
    fleet.run(seconds=2)
    client.hear()

    reasons = {decision.request_id: decision.reason for _, decision in client.decisions}
    assert reasons["r1"] is reasons["r2"] is Reason.CONTROL_UNREACHABLE
    assert allowed(client.say(by_key(AUTHORIZE, "k", "r3"))).service == DEFAULT
    assert fleet["a"].node.waiting_count == 0


@pytest.mark.parametrize("service", ["", DEFAULT])
def test_a_key_that_control_says_nothing_of_could_not_be_told(service: str) -> None:
    """Though it answers everything else; the request may be tried again."""
    fleet = with_key()
    client = warm(fleet, "k")
    fleet["a"].hears_of_keys = False

    client.say(by_key(AUTHORIZE, "new", service=service))
    fleet.run(seconds=2)

    decision = client.said(client.sequence)
    assert decision is not None
    assert (decision.reason, decision.retryable) == (Reason.CONTROL_UNREACHABLE, True)


def test_work_is_recorded_in_time_though_nothing_is_known_of_its_key() -> None:
    """Without the key, as nobody says whose it is; where the key alone knows the service, it waits for that."""
    fleet = with_key()
    client = warm(fleet, "k")
    fleet["a"].hears_of_keys = False

    client.say(by_key(FINISH, "new", "r1", Counts(5), service=DEFAULT))
    client.say(by_key(FINISH, "new", "r2", Counts(5)))
    fleet.run(seconds=7)

    assert record_of(fleet, "r1").credential == ""
    assert {record.request_id for record in fleet.database.requests.values()} == {"warm", "r1"}
    fleet.control.put_key("new")
    fleet["a"].hears_of_keys = True
    fleet.run(seconds=1)
    assert record_of(fleet, "r2").credential == "uid-new"


def test_work_with_a_key_of_another_account_is_recorded_without_it() -> None:
    """What a foreign key is called is nobody's business here."""
    fleet = with_key(name="accounts/other/keys/k")
    client = Client(fleet["a"])

    client.say(by_key(FINISH, "k", counts=Counts(5), service=DEFAULT))
    fleet.run(seconds=1)

    assert is_invalid(client.said(1))
    assert record_of(fleet).credential == ""


def test_a_stream_that_ends_takes_what_it_wanted_to_begin_with_it() -> None:
    """Nobody is left to be answered."""
    fleet = with_key()
    fleet.control.reachable = False
    client = Client(fleet["a"])
    client.send(by_key(AUTHORIZE, "k"), by_key(FINISH, "k", "r2"))

    client.close()

    assert fleet["a"].node.waiting_count == 1
    fleet.control.reachable = True
    fleet.run(seconds=1)
    assert fleet["a"].node.waiting_count == 0
    assert record_of(fleet, "r2").credential == "uid-k"
