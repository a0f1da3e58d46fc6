"""What is written down of a call that was refused."""

import grpc
import pytest

from tallygate._access.refusals import RefusalCounts, RefusedCalls
from tallygate._access.rights import NO_RIGHTS, Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tallygate._access.token_text import ID_BYTES, SECRET_BYTES, token_id_of, token_text
from tallygate._server.clock import ManualClock
from tallygate._server.grpc.caller import Caller
from tallygate._server.grpc.failures import RpcStatusError
from tallygate._server.grpc.gate import NOBODY, Refused
from tallygate._server.grpc.refusals import NAME_MAX, UNPROVED_LENGTH_MAX, counting
from tallygate.control.v1 import account_service_pb2

METHOD = "tallygate.control.v1.AccountService/GetAccount"
VIEWER = Rights((Right(Role.VIEWER, Scope("acme")),))
ANNA = Caller(member="person:anna", rights=VIEWER, access_token="accessTokens/a")
STRANGER = Caller(member="person:ben", rights=NO_RIGHTS)
REQUEST = account_service_pb2.GetAccountRequest(name="accounts/acme")


def refused(caller: Caller, code: grpc.StatusCode, *, name: str = "accounts/acme", note: str = "") -> Refused:
    request = account_service_pb2.GetAccountRequest(name=name)
    failure = RpcStatusError(code, code.name, "No.")
    return Refused(caller, "ipv4:192.0.2.1:5000", METHOD, failure, request, name, note)


def written(*calls: Refused) -> list[RefusedCalls]:
    counts = RefusalCounts()
    note = counting(counts, ManualClock(5))
    for call in calls:
        note(call)
    return counts.untold(10)


def test_a_refusal_says_who_where_what_and_why() -> None:
    """With what was asked."""
    assert written(refused(ANNA, grpc.StatusCode.PERMISSION_DENIED, note="anna at her desk")) == [
        RefusedCalls(
            first_us=5,
            principal="person:anna",
            peer="192.0.2.1",
            method=METHOD,
            reason="PERMISSION_DENIED",
            resource="accounts/acme",
            account_id="acme",
            access_token="accessTokens/a",
            note="anna at her desk",
            request_json='{"name":"accounts/acme"}',
        )
    ]


def test_what_strangers_try_is_not_the_accounts() -> None:
    """Who has no right in an account is none of its people, and its owners do not learn of them."""
    (found,) = written(refused(STRANGER, grpc.StatusCode.NOT_FOUND))
    assert (found.resource, found.account_id) == ("accounts/acme", "")


def test_a_service_account_is_its_accounts_also_as_a_member() -> None:
    """Who tries to disable it is of interest to its owners."""
    (found,) = written(refused(ANNA, grpc.StatusCode.PERMISSION_DENIED, name="serviceAccount:accounts/acme/x"))
    assert found.account_id == "acme"


def test_a_token_in_a_name_is_not_written_down() -> None:
    """Or in what a caller says of itself: somebody gave the secret where the token's name was meant."""
    secret = token_text(token_id_of(bytes(ID_BYTES)), bytes(SECRET_BYTES))
    (found,) = written(refused(ANNA, grpc.StatusCode.NOT_FOUND, name=f"accounts/acme/{secret}", note=secret))
    assert (found.resource, found.note) == ("accounts/acme/tgt_...", "tgt_...")


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE])
def test_other_failures_are_no_refusals(code: grpc.StatusCode) -> None:
    """Of a request that says too little, and of a database that does not answer, nothing is written down."""
    assert written(refused(ANNA, code)) == []


def test_what_nobody_has_checked_is_written_shortly() -> None:
    """And without what steers a terminal, or what a database cannot take."""
    (found,) = written(refused(NOBODY, grpc.StatusCode.UNAUTHENTICATED, name="accounts/\x00\x1b\u202e" + "x" * 10_000))
    assert found.resource.startswith("accounts/???xxx")
    assert len(found.resource) == NAME_MAX
    assert len(found.request_json) == UNPROVED_LENGTH_MAX
    assert "\x00" not in found.request_json
