"""Members and the names of what belongs to them."""

import pytest

from control_service.domain.member import MEMBER_MAX, issuer_of, kind_of_member, require_member, service_account_of
from control_service.domain.names import (
    MalformedNameError,
    access_token_name,
    binding_name,
    parse_access_token,
    parse_binding,
    parse_service_account,
    service_account_name,
)
from tallygate._access.scope import PLATFORM, Scope

TOKEN_ID = "a2" * 12


@pytest.mark.parametrize(
    "member",
    [
        "person:https://issuer.example/realm#subject#with-a-hash",
        "group:https://issuer.example#staff of the house",
        "serviceAccount:serviceAccounts/robot",
        "serviceAccount:accounts/acme/teams/search/serviceAccounts/robot",
        "certificate:spiffe://example.org/anything",
        "certificate:urn:uuid:1",
    ],
)
def test_members_are_told_apart(member: str) -> None:
    """By the part before the first colon."""
    assert require_member(member) == member
    assert kind_of_member(member) == member.partition(":")[0]
    assert issuer_of(member).startswith("https://") == member.startswith(("person", "group"))
    assert bool(service_account_of(member)) == member.startswith("serviceAccount")


@pytest.mark.parametrize(
    "member",
    [
        "",
        "alice",
        "user:alice",
        "person:alice",
        "person:https://issuer.example",
        "person:https://issuer.example#",
        "person:#alice",
        "person:https://issuer.example#al\nice",
        "serviceAccount:robot",
        "serviceAccount:accounts/acme/serviceAccounts/Robot",
        "certificate:",
        "certificate:no uri",
        "certificate:spiffe://" + "x" * 512,
        "group:https://issuer.example#" + "x" * MEMBER_MAX,
    ],
)
def test_what_is_no_member_is_refused(member: str) -> None:
    """The message says what one looks like."""
    with pytest.raises(MalformedNameError, match="must be"):
        require_member(member)


@pytest.mark.parametrize("scope", [PLATFORM, Scope("acme"), Scope("acme", "search")])
def test_names_lie_in_the_name_of_their_scope(scope: Scope) -> None:
    """What is made of scope and id is read as scope and id."""
    assert parse_binding(binding_name(scope, "b-1")) == (scope, "b-1")
    robot = service_account_name(scope, "robot")
    assert parse_service_account(robot) == (scope, "robot")
    for owner in ("", robot):
        assert parse_access_token(access_token_name(owner, TOKEN_ID)) == (owner, TOKEN_ID)


@pytest.mark.parametrize(
    "name",
    ["accounts/acme/accessTokens/" + TOKEN_ID, "accessTokens/" + TOKEN_ID[1:], "accessTokens/" + TOKEN_ID.upper()],
)
def test_tokens_lie_in_no_account(name: str) -> None:
    """But in the name of their service account."""
    with pytest.raises(MalformedNameError):
        parse_access_token(name)
