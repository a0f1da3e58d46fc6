"""What unknown API keys and models cost a node: look-ups are slow for who guesses, and tables are bounded."""

import tracemalloc
from typing import Any

import pytest

from metering_service.domain.api_key import ApiKey, KeyState
from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.report import Phase
from metering_service.usecases.settings import NodeSettings
from tests.harness.metering.keys import DEFAULT, allowed, by_key, is_invalid, sha256, warm, with_key
from tests.harness.metering.node_harness import Client, Fleet, Rig

AUTHORIZE = Phase.AUTHORIZE
KEY_BYTES_MAX = 1_024


def reasons(client: Client, prefix: str) -> list[Reason | None]:
    client.hear()
    return [decision.reason for _, decision in client.decisions if decision.request_id.startswith(prefix)]


def guess(client: Client, count: int, prefix: str = "g", **more: Any) -> None:
    """So many keys that nobody has, in one message."""
    client.send(*(by_key(AUTHORIZE, f"{prefix}-{number}", f"{prefix}-{number}", **more) for number in range(count)))
    client.rig.pump()


def keys_asked_about(rig: Rig) -> int:
    """How many keys control was asked about."""
    return sum(len(keys) for keys, _ in rig.key_questions)


def booked(fleet: Fleet) -> list[RequestRecord]:
    """The booked requests that a test has numbered."""
    records = fleet.database.requests.values()
    return [each for each in records if each.request_id.startswith("g-") and each.state is not RequestState.OPEN]


@pytest.mark.parametrize("more", [{}, {"service": DEFAULT}])
def test_a_stream_has_fifty_unknown_keys_looked_up_a_second(more: dict[str, Any]) -> None:
    """Beyond that it could not be told, and may be tried again; a key that is known passes all the time."""
    fleet = with_key(config={"requires_key": True})
    client = warm(fleet, "k")
    other = Client(fleet["a"])

    guess(client, 60, **more)

    said = reasons(client, "g")
    assert (said.count(Reason.CREDENTIAL_INVALID), said.count(Reason.OVERLOADED)) == (50, 10)
    assert all(decision.retryable for _, decision in client.decisions if decision.reason is Reason.OVERLOADED)
    assert allowed(client.say(by_key(AUTHORIZE, "k"))).service == DEFAULT
    assert is_invalid(other.say(by_key(AUTHORIZE, "other-guess", "o", **more)))
    fleet.run(ms=200)
    guess(client, 20, "later", **more)
    assert reasons(client, "later").count(Reason.CREDENTIAL_INVALID) == 10


def test_unknown_models_are_looked_up_as_slowly() -> None:
    """With a key that is valid."""
    fleet = with_key()
    client = warm(fleet, "k")
    client.send(*(by_key(AUTHORIZE, "k", f"g{number}", model=f"m{number}") for number in range(60)))
    fleet["a"].pump()
    said = reasons(client, "g")
    assert (said.count(Reason.CREDENTIAL_INVALID), said.count(Reason.OVERLOADED)) == (50, 10)


def test_a_key_and_a_model_are_looked_up_both_or_neither() -> None:
    """What is refused costs nothing: it would be refused again and again."""
    fleet = with_key()
    client = warm(fleet, "k")
    guess(client, 49)
    guess(client, 1, "both", model="m")
    guess(client, 1, "key")
    assert (reasons(client, "both"), reasons(client, "key")) == ([Reason.OVERLOADED], [Reason.CREDENTIAL_INVALID])


@pytest.mark.parametrize("phase", [Phase.PROGRESS, Phase.FINISH])
@pytest.mark.parametrize("more", [{}, {"service": DEFAULT}])
def test_reports_of_work_have_no_more_keys_looked_up_than_authorisations_may(
    phase: Phase, more: dict[str, Any]
) -> None:
    """On either road; what begins has its own fifty still, and what waits is looked up as time goes on."""
    fleet = with_key()
    client = warm(fleet, "k")

    client.send(*(by_key(phase, f"g-{number}", f"g-{number}", Counts(5, 0, 0, 5), **more) for number in range(200)))
    fleet["a"].pump()
    at_once = keys_asked_about(fleet["a"])
    guess(client, 60, "begins")

    assert at_once == 1 + 50
    assert reasons(client, "begins").count(Reason.OVERLOADED) == 10
    fleet.run(ms=600)
    assert 1 + 100 + 25 <= keys_asked_about(fleet["a"]) <= 1 + 100 + 31


def test_a_finish_whose_key_was_never_looked_up_is_recorded_without_it() -> None:
    """Work is on record in time; progress by then is told to come again."""
    fleet = with_key()
    client = warm(fleet, "k")
    finishes = [by_key(Phase.FINISH, f"g-{n}", f"g-{n}", Counts(5, 0, 0, 5), service=DEFAULT) for n in range(400)]
    client.send(*finishes, by_key(Phase.PROGRESS, "last", "p", service=DEFAULT))

    fleet.run(seconds=2)
    assert reasons(client, "p") == [Reason.OVERLOADED]
    assert len(booked(fleet)) < 300
    fleet.run(seconds=4)

    assert len(booked(fleet)) == 400
    assert {record.stamp.credential for record in booked(fleet)} == {""}


@pytest.mark.parametrize("more", [{}, {"service": DEFAULT}])
def test_work_with_keys_that_there_are_is_recorded_with_them_within_a_moment(more: dict[str, Any]) -> None:
    """Those of a node that died come all at once."""
    fleet = with_key()
    client = warm(fleet, "k")
    for number in range(400):
        fleet.control.put_key(f"k{number}")

    client.send(*(by_key(Phase.FINISH, f"k{n}", f"g-{n}", Counts(5, 0, 0, 5), **more) for n in range(400)))
    fleet.run(ms=1_000)

    assert len({record.stamp.credential for record in booked(fleet)} - {""}) == 400


def test_a_request_that_moves_is_followed_to_the_end_of_its_key_once_that_may_be_looked_up() -> None:
    """Behind others that showed keys which there are not."""
    fleet = with_key()
    fleet.start("b")
    first, second = Client(fleet["a"]), Client(fleet["b"])
    grant = allowed(first.say(by_key(AUTHORIZE, "k", "moves", Counts(5)))).grant
    assert grant is not None
    first.close()
    second.send(*(by_key(Phase.FINISH, f"g-{n}", f"g-{n}", Counts(5, 0, 0, 5), service=DEFAULT) for n in range(51)))
    fleet["b"].pump()
    second.send(by_key(Phase.PROGRESS, "k", "moves", Counts(5), service=DEFAULT, resume=grant.resume))
    fleet["b"].pump()
    asked = keys_asked_about(fleet["b"])
    fleet.run(ms=200)

    fleet.control.put_key("k", state=KeyState.REVOKED)
    fleet.run(ms=100)

    assert asked == 50
    assert Reason.CREDENTIAL_INVALID in reasons(second, "moves")


def test_keys_that_there_are_are_not_counted() -> None:
    """A node that begins meets all of its keys within a moment."""
    fleet = with_key()
    client = warm(fleet, "k")
    for number in range(200):
        fleet.control.put_key(f"k{number}")
    for number in range(200):
        allowed(client.say(by_key(AUTHORIZE, f"k{number}", f"r{number}")))


def test_guesses_push_out_no_key_that_there_is() -> None:
    """And the oldest of themselves; control is told that they are followed no longer."""
    fleet = with_key(settings=NodeSettings(unknown_keys_max=10))
    client = warm(fleet, "k")

    for number in range(40):
        assert is_invalid(client.say(by_key(AUTHORIZE, f"g{number}", f"g{number}")))

    keys = fleet["a"].node.keys
    assert keys.find(sha256("k")) is not None
    assert [keys.find(sha256(f"g{number}")) is not None for number in (0, 29, 30, 39)] == [False, False, True, True]
    assert len(fleet["a"].followed_keys) == 12  # With the key and its model.


def test_a_key_and_a_model_that_nobody_uses_are_forgotten() -> None:
    """Control need not tell of them any more."""
    fleet = with_key()
    client = warm(fleet, "k")
    assert is_invalid(client.say(by_key(AUTHORIZE, "nobody's", "g", model="nothing")))
    assert len(fleet["a"].followed_keys) == 4

    fleet.run(seconds=601)

    assert fleet["a"].followed_keys == set()


def test_what_is_known_is_followed_on_the_next_stream_to_control() -> None:
    """And what somebody waits for; of keys that nobody has control is asked again when they are shown again."""
    fleet = with_key()
    client = warm(fleet, "k")
    assert is_invalid(client.say(by_key(AUTHORIZE, "nobody's", "g")))
    fleet.control.reachable = False
    client.say(by_key(AUTHORIZE, "waits", "w"))

    keys, models = fleet["a"].node.keys.begin_stream()

    assert sorted(keys) == sorted([sha256("k"), sha256("waits")])
    assert models == ["llama"]


def test_an_older_version_is_taken_on_a_new_stream_only() -> None:
    """Then control may have been put back to an older copy; on one stream, what comes late is old."""
    fleet = with_key()
    warm(fleet, "k")
    keys = fleet["a"].node.keys
    known = keys.find(sha256("k"))
    assert known is not None
    assert known.key is not None
    old = ApiKey(sha256("k"), KeyState.REVOKED, version=known.key.version - 1)

    assert keys.take(old) is None
    keys.begin_stream()
    assert keys.take(old) is known
    assert known.state is KeyState.REVOKED


def test_a_key_that_a_node_has_met_takes_less_than_a_kibibyte() -> None:
    """With names as they are: 10,000 keys."""
    fleet = with_key()
    keys, count = fleet["a"].node.keys, 10_000
    hashes = [sha256(str(number)) for number in range(count)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number, key_sha256 in enumerate(hashes):
            keys.look_up(bytes(bytearray(key_sha256)), "", None)
            keys.take(
                ApiKey(
                    bytes(bytearray(key_sha256)),
                    KeyState.VALID,
                    f"accounts/acme/keys/key-of-somebody-{number}",
                    f"01980000-0000-7000-8000-{number:012}",
                    services=None,
                    models=None,
                    valid_for_ns=1 << 60,
                    version=number + 1,
                )
            )
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / count < KEY_BYTES_MAX
