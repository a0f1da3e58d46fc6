"""What the audit log shows of a request and of a peer."""

import json

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate._access.key_text import key_text, secret_id_of
from tallygate._access.token_text import ID_BYTES, SECRET_BYTES, token_id_of, token_text
from tallygate._server.grpc.caller import peer_address
from tallygate._server.grpc.request_json import LENGTH_MAX, REQUEST_BYTES_MAX, request_json
from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tallygate.control.v1 import fleet_service_pb2 as fleet
from tallygate.control.v1 import key_service_pb2 as keys
from tallygate.control.v1 import token_service_pb2 as tokens

TOKEN = token_text(token_id_of(bytes(ID_BYTES)), bytes(range(SECRET_BYTES)))
KEY = key_text(secret_id_of(bytes(10)), bytes(range(SECRET_BYTES)))


def test_a_request_is_shown_as_in_the_contract() -> None:
    """Fields by their names in it; other alphabets stay readable, and control characters cannot steer a terminal."""
    request = accounts.TopUpAccountRequest(name="accounts/acme", amount_nanos=5, reason="Überweisung\x1b[2J")
    shown = request_json(request)
    assert json.loads(shown) == {"name": "accounts/acme", "amount_nanos": "5", "reason": request.reason}
    assert "Überweisung" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    "request_",
    [
        tokens.ExchangeTokenRequest(id_token="marked-secret"),
        fleet.WatchConfigRequest(
            subscription=fleet.ConfigSubscription(
                subscribe_credentials=[
                    fleet.Credential(token=fleet.TokenProof(token_id="id", token_sha256=b"marked-secret"))
                ]
            )
        ),
        keys.CreateKeyRequest(secret="marked-secret"),
        keys.ImportKeysRequest(keys=[keys.ImportedKey(secret_sha256=b"marked-secret")]),
        fleet.WatchConfigRequest(subscription=fleet.ConfigSubscription(subscribe_api_keys=[b"marked-secret"])),
        keys.CreateKeyRequest(display_name=f"pasted {KEY} here"),
        accounts.TopUpAccountRequest(name="accounts/acme", reason=f"pasted {TOKEN} here"),
        accounts.TopUpAccountRequest(name="accounts/acme", reason=f"pasted {TOKEN[:-10]}"),
    ],
    ids=["id token", "hash", "own key", "own hash", "followed hash", "pasted key", "pasted token", "part of a token"],
)
def test_secrets_are_not_shown(request_: Message) -> None:
    """Neither those of the contract, however deep, nor a token that somebody pasted into a text."""
    shown = request_json(request_)
    assert "secret" not in shown
    assert "bWFya2VkLXNlY3JldA" not in shown
    assert TOKEN[40:70] not in shown
    assert KEY[30:60] not in shown
    assert request_ != type(request_)()


def test_a_name_that_begins_as_a_key_does_is_shown() -> None:
    """Ids may have `sk-` in them, or begin with it."""
    for name in ("accounts/sk-acme", "accounts/risk-analysis-of-the-northern-branch", "accounts/sk-2-the-second"):
        assert name in request_json(accounts.TopUpAccountRequest(name=name))


def test_a_long_request_is_cut_visibly() -> None:
    """Three dots stand for the rest."""
    shown = request_json(accounts.TopUpAccountRequest(reason="x" * 2 * LENGTH_MAX))
    assert len(shown) == LENGTH_MAX
    assert shown.endswith("xxx...")
    assert len(request_json(accounts.TopUpAccountRequest(reason="x" * 1_000), 100)) == 100


def test_a_huge_request_is_not_written_out() -> None:
    """Its size is all that is shown of it."""
    huge = accounts.TopUpAccountRequest(reason="x" * REQUEST_BYTES_MAX)
    assert request_json(huge) == f'"{huge.ByteSize():,} bytes, too many to be shown"'


def test_what_no_calendar_has_is_not_shown() -> None:
    """Nobody has checked the times of a request that was refused."""
    assert request_json(catalogue.PublishPriceRequest(effective_time=Timestamp(seconds=10**15))) == '"cannot be shown"'


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:51234", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:51234", "2001:db8::1"),
        ("ipv6:[::1]:51234", "::1"),
        ("unix:", "unix"),
        ("unix:/run/some.socket", "unix"),
        ("", ""),
    ],
)
def test_a_peer_is_shown_without_its_port(peer: str, address: str) -> None:
    """One host is one peer, however many connections it makes."""
    assert peer_address(peer) == address
