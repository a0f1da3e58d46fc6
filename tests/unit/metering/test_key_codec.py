"""What a node reads of an API key: of a report its hash, of control what the key opens."""

import hashlib

import pytest

from metering_service.api.codec import decode_report, encode_decision
from metering_service.api.control.codec import decode_config
from metering_service.api.control.key_codec import decode_key, decode_model
from metering_service.api.control.subscriptions import following_keys, join, unfollowing_keys
from metering_service.domain.api_key import ApiKey, KeyProblem, KeyState, ModelMeaning
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.network import is_within, parse_network
from metering_service.domain.report import problem
from metering_service.usecases.reports.key_check import refused
from tallygate.control.v1 import api_key_config_pb2, config_pb2, inference_service_pb2
from tallygate.metering.v1 import decision_pb2, report_pb2

SHA256 = hashlib.sha256(b"sk-1").digest()
AUTHORIZE = report_pb2.REPORT_PHASE_AUTHORIZE


def said(**fields: object) -> report_pb2.TokenReport:
    return report_pb2.TokenReport(request_id="r1", phase=AUTHORIZE, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("shown", ["sk-1", SHA256.hex(), f"sha256:{SHA256.hex()}", "ü" * 128, "\0"])
def test_a_key_is_hashed_whatever_it_looks_like(shown: str) -> None:
    """So a hash that was read somewhere opens nothing, and the text is nowhere in the report."""
    report = decode_report(said(credential=shown), "")
    assert problem(report) is None
    assert report.key_sha256 == hashlib.sha256(shown.encode()).digest()
    assert shown not in report


def test_a_hash_is_taken_as_it_is_with_what_it_is_judged_by() -> None:
    """From an edge that makes it."""
    report = decode_report(said(credential_sha256=SHA256, model="llama", source_address="192.0.2.1"), "")
    assert (report.key_sha256, report.model, report.source_address) == (SHA256, "llama", "192.0.2.1")
    assert problem(report) is None


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"credential": "sk-1", "credential_sha256": SHA256}, "credential and credential_sha256 are both set"),
        ({"credential": "x" * 257}, "credential is longer than 256 bytes"),
        ({"credential_sha256": SHA256[:31]}, "credential_sha256 is not 32 bytes long"),
        ({"model": "llama"}, "service is missing"),
    ],
)
def test_what_is_no_key_is_malformed(fields: dict[str, object], what: str) -> None:
    """One sentence says what is wrong, and shows nothing of the key."""
    sentence = problem(decode_report(said(**fields), ""))
    assert sentence is not None
    assert what in sentence
    assert "sk-1" not in sentence


def test_a_key_of_control_is_read_in_full() -> None:
    """All that it may be used for."""
    message = api_key_config_pb2.ApiKeyConfig(
        key_sha256=SHA256,
        state=api_key_config_pb2.API_KEY_STATE_VALID,
        key="accounts/acme/keys/k",
        uid="uid-k",
        team="red",
        services=["accounts/acme/services/chat"],
        all_models=True,
        routes=[api_key_config_pb2.ModelRoute(model="models/llama", service="accounts/acme/services/chat")],
        networks=["192.0.2.0/24", "nonsense"],
        version=7,
    )
    message.valid_for.FromSeconds(60)
    assert decode_key(message) == ApiKey(
        SHA256,
        KeyState.VALID,
        "accounts/acme/keys/k",
        "uid-k",
        "red",
        frozenset({"accounts/acme/services/chat"}),
        None,
        {"models/llama": "accounts/acme/services/chat"},
        (parse_network("192.0.2.0/24"), parse_network("nonsense")),
        60_000_000_000,
        7,
    )
    assert not is_within("192.0.2.1", (parse_network("nonsense"),))


def test_a_key_that_names_nothing_opens_nothing_and_a_state_of_another_time_neither() -> None:
    """What this program does not understand is no."""
    key = decode_key(api_key_config_pb2.ApiKeyConfig(key_sha256=SHA256, state=99))  # type: ignore[arg-type]
    assert (key.state, key.services, key.models) == (KeyState.REVOKED, frozenset(), frozenset())


def test_a_model_of_control_is_read() -> None:
    """A name that is none stands for nothing."""
    message = api_key_config_pb2.ModelConfig(text="llama-3", model="models/llama", version=2)
    assert decode_model(message) == ModelMeaning("llama-3", "models/llama", 2)


@pytest.mark.parametrize(("number", "requires_key"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_policy_of_another_time_is_a_strict_one(number: int, requires_key: bool) -> None:
    """Not said is open; what this program does not know requires a key."""
    message = config_pb2.ServiceConfig(
        resolution=config_pb2.RESOLUTION_FOUND,
        model="models/llama",
        shared=True,
        credential_policy=inference_service_pb2.CredentialPolicy.ValueType(number),
    )
    config = decode_config(message)
    assert (config.requires_key, config.model, config.shared) == (requires_key, "models/llama", True)


def test_a_refusal_on_the_wire_says_nothing_of_its_cause() -> None:
    """Whatever that is."""
    report = decode_report(said(credential="sk-1"), "accounts/acme/services/chat")
    messages = {encode_decision(refused(report, problem)).SerializeToString() for problem in KeyProblem}
    (message,) = (decision_pb2.Decision.FromString(data) for data in messages)
    assert (message.reason, message.retryable) == (decision_pb2.DECISION_REASON_CREDENTIAL_INVALID, False)
    assert message.message == Reason.CREDENTIAL_INVALID.sentence


def test_a_decision_names_the_service_that_a_key_led_to() -> None:
    """Else nothing."""
    assert encode_decision(Decision("r1", service="accounts/a/services/b")).service == "accounts/a/services/b"
    assert encode_decision(Decision("r1")).service == ""


def test_keys_are_followed_in_the_message_of_others_and_unfollowed_before_them() -> None:
    """Control takes what a message unsubscribes first."""
    message = following_keys([SHA256], [])
    assert join(message, following_keys([], ["llama"]))
    assert not join(message, unfollowing_keys([SHA256], []))
    subscription = message.subscription
    assert (list(subscription.subscribe_api_keys), list(subscription.subscribe_models)) == ([SHA256], ["llama"])
    assert join(unfollowing_keys([SHA256], []), message)
