"""The gate: who is let in, who learns that something exists, and what a refusal says."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from tallygate._access.permission import Permission
from tallygate._access.rights import ALL_RIGHTS, Right, Rights, TeamAdmission
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tallygate._access.token_text import ID_BYTES, SECRET_BYTES, ShownToken, token_id_of, token_text
from tallygate._server.grpc.access_rules import rule_of
from tallygate._server.grpc.caller import PERMITTED_MAX, UNCHECKED, Caller
from tallygate._server.grpc.failures import RpcStatusError
from tallygate._server.grpc.gate import NOBODY, Gate, Refused, unauthenticated
from tallygate.control.v1 import (
    access_service_pb2,
    account_service_pb2,
    catalog_service_pb2,
    key_service_pb2,
    lifecycle_service_pb2,
    token_service_pb2,
)
from tallygate.metering.v1 import usage_service_pb2

ACCOUNTS, LIFECYCLE = "tallygate.control.v1.AccountService", "tallygate.control.v1.LifecycleService"
USAGE, ACCESS = "tallygate.metering.v1.UsageService", "tallygate.control.v1.AccessService"
KEYS = "tallygate.control.v1.KeyService"
TOKENS, CATALOGUE = "tallygate.control.v1.TokenService", "tallygate.control.v1.CatalogService"
ACME, SEARCH, CHAT = Scope("acme"), Scope("acme", "search"), Scope("acme", "chat")
TEXT = token_text(token_id_of(bytes(ID_BYTES)), bytes(SECRET_BYTES))

GetAccount = account_service_pb2.GetAccountRequest
GetService = lifecycle_service_pb2.GetInferenceServiceRequest
CreateService = lifecycle_service_pb2.CreateInferenceServiceRequest
UpdateService = lifecycle_service_pb2.UpdateInferenceServiceRequest


@dataclass
class Known:
    """Knows one caller, by the one token and by one certificate."""

    caller: Caller

    async def by_token(self, token: ShownToken, peer: str) -> Caller:
        if token.token_id != token_id_of(bytes(ID_BYTES)):
            raise unauthenticated("CREDENTIAL_INVALID", "Nobody has this token.")
        return self.caller

    async def by_certificate(self, uris: tuple[str, ...], peer: str) -> Caller:
        if uris != ("spiffe://fleet/x",):
            raise unauthenticated("CREDENTIAL_INVALID", "Nobody has this certificate.")
        return self.caller


class Teams:
    """Two services of acme, each in a team, and one in none."""

    async def team_of_key(self, account_id: str, key_id: str) -> str:
        return await self.team_of(account_id, key_id)

    async def team_of(self, account_id: str, service_id: str) -> str:
        assert "\x00" not in service_id, "No database takes this."
        return {"finder": "search", "talker": "chat"}.get(service_id, "") if account_id == "acme" else ""


@dataclass
class Call:
    """A call as the gate sees it."""

    metadata: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {TEXT}"),)
    uris: tuple[str, ...] = ()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.metadata

    def auth_context(self) -> Mapping[str, list[bytes]]:
        return {"peer_uri": [uri.encode() for uri in self.uris]} if self.uris else {}

    def peer(self) -> str:
        return "ipv4:127.0.0.1:5000"


@dataclass
class Door:
    """A gate, and what it refused."""

    caller: Caller
    refused: list[Refused] = field(default_factory=list)

    async def admit(self, service: str, method: str, request: Message | None, call: Any = None) -> Caller:
        gate = Gate(Known(self.caller), Teams(), self.refused.append)
        made: Any = call or Call()
        return await gate.admit(rule_of(service, method), request, made)

    async def lets_in(self, service: str, method: str, request: Message | None, call: Any = None) -> bool:
        return replace(await self.admit(service, method, request, call), admission=None) == self.caller

    async def refuses(self, service: str, method: str, request: Message | None, call: Any = None) -> RpcStatusError:
        with pytest.raises(RpcStatusError) as caught:
            await self.admit(service, method, request, call)
        assert self.refused[-1].failure is caught.value
        return caught.value


def having(*rights: tuple[Role, Scope]) -> Door:
    return Door(Caller("person:https://sso#u", Rights(tuple(Right(role, scope) for role, scope in rights))))


async def test_without_an_authenticator_everybody_may_do_everything() -> None:
    """Also without any credential, and with a bad one."""
    rule = rule_of(ACCOUNTS, "GetAccount")
    call: Any = Call((("authorization", "Bearer nonsense"),))
    assert await Gate().admit(rule, GetAccount(name="accounts/acme"), call) is UNCHECKED


async def test_a_wider_right_holds_in_what_is_narrower() -> None:
    """An operator reads every account, an owner one, and a team's member none."""
    request = GetAccount(name="accounts/acme")
    for door in (having((Role.OPERATOR, PLATFORM)), having((Role.OWNER, ACME)), having((Role.VIEWER, ACME))):
        assert await door.admit(ACCOUNTS, "GetAccount", request) == door.caller
    failure = await having((Role.TEAM_ADMIN, SEARCH)).refuses(ACCOUNTS, "GetAccount", request)
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert failure.metadata == {"permission": "ACCOUNTS_READ", "scope": "accounts/acme"}


@pytest.mark.parametrize("name", ["accounts/acme", "accounts/acme/services/finder", "accounts/acme/services/none"])
async def test_a_stranger_does_not_learn_what_exists(name: str) -> None:
    """Of an account without any right in it everything is NOT_FOUND, creating included."""
    door = having((Role.OWNER, Scope("globex")))
    for method, request in (
        ("GetInferenceService", GetService(name=name)),
        ("CreateInferenceService", CreateService(name=name)),
    ):
        failure = await door.refuses(LIFECYCLE, method, request)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
        assert failure.message == f"There is no {name}; check the name."


class CountedRights(Rights):
    """Counts how often it is asked."""

    asked = 0

    def allows(self, permission: Permission, scope: Scope) -> bool:
        CountedRights.asked += 1
        return super().allows(permission, scope)


async def test_a_caller_who_is_kept_is_judged_once_for_the_same_names() -> None:
    """By each method, and only where names alone decide; with other rights it is another caller."""
    door = Door(Caller("person:https://sso#u", CountedRights((Right(Role.OWNER, ACME),))))
    request = GetService(name="accounts/acme/services/finder")
    asked = []
    for _ in range(3):
        assert await door.admit(LIFECYCLE, "GetInferenceService", request) is door.caller
        asked.append(CountedRights.asked)
    assert asked[0] == asked[1] == asked[2] > 0
    await door.admit(LIFECYCLE, "DeleteInferenceService", request)
    assert CountedRights.asked > asked[2]
    await door.refuses(LIFECYCLE, "GetInferenceService", GetService(name="accounts/globex/services/finder"))
    await door.admit(LIFECYCLE, "UpdateInferenceService", UpdateService(name=request.name))
    assert {method.rpartition("/")[2] for method, _ in door.caller.permitted} == {
        "GetInferenceService",
        "DeleteInferenceService",
    }
    door.caller = replace(door.caller, rights=Rights(), permitted=set())
    await door.refuses(LIFECYCLE, "GetInferenceService", request)


async def test_what_is_remembered_of_a_caller_is_bounded() -> None:
    """One that names many things is judged anew."""
    door = having((Role.OWNER, ACME))
    for number in range(2 * PERMITTED_MAX + 1):
        await door.admit(LIFECYCLE, "GetInferenceService", GetService(name=f"accounts/acme/services/s{number}"))
        assert len(door.caller.permitted) <= PERMITTED_MAX


async def test_a_teams_caller_is_judged_anew() -> None:
    """A service may have gone to another team since."""
    door = having((Role.TEAM_ADMIN, SEARCH))
    await door.admit(LIFECYCLE, "GetInferenceService", GetService(name="accounts/acme/services/finder"))
    assert not door.caller.permitted


async def test_a_team_sees_its_own_services_and_not_its_siblings() -> None:
    """A service of another team, of none, and one that does not exist are all denied alike."""
    door = having((Role.TEAM_MEMBER, SEARCH))
    assert await door.lets_in(LIFECYCLE, "GetInferenceService", GetService(name="accounts/acme/services/finder"))
    messages = set()
    for service in ("talker", "default-llama", "none"):
        failure = await door.refuses(
            LIFECYCLE, "GetInferenceService", GetService(name=f"accounts/acme/services/{service}")
        )
        assert failure.code is grpc.StatusCode.PERMISSION_DENIED
        messages.add(failure.reason)
    assert messages == {"PERMISSION_DENIED"}


async def test_a_teams_admin_creates_in_the_team_only() -> None:
    """Not in a sibling, and not in the account itself; and sells nothing of the account's money."""
    door = having((Role.TEAM_ADMIN, SEARCH))
    name = "accounts/acme/services/fresh"
    assert await door.lets_in(LIFECYCLE, "CreateInferenceService", CreateService(name=name, team="search"))
    for team in ("", "chat"):
        failure = await door.refuses(LIFECYCLE, "CreateInferenceService", CreateService(name=name, team=team))
        assert failure.code is grpc.StatusCode.PERMISSION_DENIED
    billing = lifecycle_service_pb2.InitialBilling(enable_postpaid=True)
    failure = await door.refuses(
        LIFECYCLE, "CreateInferenceService", CreateService(name=name, team="search", billing=billing)
    )
    assert failure.metadata == {"permission": "POSTPAID_SWITCH", "scope": "accounts/acme/teams/search"}


async def test_the_team_that_let_a_caller_in_is_said() -> None:
    """The service may be moved before the call changes it; where an account's right let it in, nothing is said."""
    request = UpdateService(name="accounts/acme/services/finder", display_name="x")
    search = await having((Role.TEAM_ADMIN, SEARCH)).admit(LIFECYCLE, "UpdateInferenceService", request)
    assert search.admission == TeamAdmission(Permission.SERVICES_MANAGE, SEARCH)
    owner = await having((Role.OWNER, ACME)).admit(LIFECYCLE, "UpdateInferenceService", request)
    assert owner.admission is None


async def test_a_service_moves_between_teams_by_who_manages_both() -> None:
    """To another team, and out of all teams, which is up to the account."""
    finder = "accounts/acme/services/finder"
    search = having((Role.TEAM_ADMIN, SEARCH))
    assert await search.lets_in(LIFECYCLE, "UpdateInferenceService", UpdateService(name=finder, display_name="x"))
    for team in ("chat", ""):
        failure = await search.refuses(LIFECYCLE, "UpdateInferenceService", UpdateService(name=finder, team=team))
        assert failure.code is grpc.StatusCode.PERMISSION_DENIED
    both = having((Role.TEAM_ADMIN, SEARCH), (Role.TEAM_ADMIN, CHAT))
    assert await both.lets_in(LIFECYCLE, "UpdateInferenceService", UpdateService(name=finder, team="chat"))
    taken = await having((Role.TEAM_ADMIN, CHAT)).refuses(
        LIFECYCLE, "UpdateInferenceService", UpdateService(name=finder, team="chat")
    )
    assert taken.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_field_may_need_more_than_its_call() -> None:
    """An owner renames the account, and does not raise its credit."""
    owner, name = having((Role.OWNER, ACME)), "accounts/acme"
    update = account_service_pb2.UpdateAccountRequest
    assert await owner.lets_in(ACCOUNTS, "UpdateAccount", update(name=name, display_name="Acme"))
    failure = await owner.refuses(ACCOUNTS, "UpdateAccount", update(name=name, credit_limit_nanos=0))
    assert failure.metadata["permission"] == "ACCOUNTS_ADMINISTER"
    assert "credit_limit_nanos" in failure.message


async def test_a_field_may_need_a_right_on_the_account() -> None:
    """A team's admin changes the team's service, and does not share it with other teams; the account's owner does."""
    finder, search = "accounts/acme/services/finder", having((Role.TEAM_ADMIN, SEARCH))
    for shared in (True, False):
        request = UpdateService(name=finder, shared=shared)
        failure = await search.refuses(LIFECYCLE, "UpdateInferenceService", request)
        assert failure.metadata == {"permission": "SERVICES_MANAGE", "scope": "accounts/acme"}
        assert await having((Role.OWNER, ACME)).lets_in(LIFECYCLE, "UpdateInferenceService", request)


async def test_a_team_has_its_own_keys() -> None:
    """A key of another team, of none, and one that does not exist are all denied alike."""
    door = having((Role.TEAM_ADMIN, SEARCH))
    rotate = key_service_pb2.RotateKeyRequest
    assert await door.lets_in(KEYS, "RotateKey", rotate(name="accounts/acme/keys/finder"))
    for key in ("talker", "none", "finder/more", "finder\x00", "Finder"):
        failure = await door.refuses(KEYS, "RotateKey", rotate(name=f"accounts/acme/keys/{key}"))
        assert failure.metadata["permission"] == "KEYS_MANAGE"


async def test_a_list_is_let_in_by_a_right_on_a_part() -> None:
    """Several names are judged one by one: a foreign account among one's own is not found."""
    member = having((Role.TEAM_MEMBER, SEARCH))
    query = usage_service_pb2.QueryUsageRequest
    assert await member.lets_in(USAGE, "QueryUsage", query(services=["accounts/acme", "accounts/acme/services/talker"]))
    failure = await member.refuses(USAGE, "QueryUsage", query(services=["accounts/acme", "accounts/globex"]))
    assert failure.code is grpc.StatusCode.NOT_FOUND
    assert await member.lets_in(
        LIFECYCLE, "ListInferenceServices", lifecycle_service_pb2.ListInferenceServicesRequest()
    )
    nobody = await having().refuses(
        LIFECYCLE, "ListInferenceServices", lifecycle_service_pb2.ListInferenceServicesRequest()
    )
    assert nobody.code is grpc.StatusCode.PERMISSION_DENIED


async def test_what_is_ones_own_needs_no_permission() -> None:
    """The caller is let in and marked; with the permission it is not marked."""
    request = token_service_pb2.RotateAccessTokenRequest(name="accessTokens/t1")
    assert (await having((Role.VIEWER, ACME)).admit(TOKENS, "RotateAccessToken", request)).own_only
    assert not (await having((Role.OPERATOR, PLATFORM)).admit(TOKENS, "RotateAccessToken", request)).own_only
    foreign = token_service_pb2.RotateAccessTokenRequest(name="accounts/globex/serviceAccounts/s/accessTokens/t1")
    failure = await having((Role.VIEWER, ACME)).refuses(TOKENS, "RotateAccessToken", foreign)
    assert failure.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("service", ["\x00", "finder\x00", "Finder", "finder\n", "x" * 100_000])
async def test_what_no_service_is_called_is_looked_up_nowhere(service: str) -> None:
    """It is in no team, and so nothing that a team's member may read."""
    request = GetService(name=f"accounts/acme/services/{service}")
    failure = await having((Role.TEAM_MEMBER, SEARCH)).refuses(LIFECYCLE, "GetInferenceService", request)
    assert failure.metadata == {"permission": "SERVICES_READ", "scope": "accounts/acme"}


@pytest.mark.parametrize("name", ["acme", "accounts/", "accounts/Acme", "models/llama", "nonsense/acme"])
async def test_what_is_no_name_is_said_to_be_none(name: str) -> None:
    """Not that the caller lacks a right on the platform."""
    failure = await having((Role.OWNER, ACME)).refuses(ACCOUNTS, "GetAccount", GetAccount(name=name))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.violations[0][0] == "name"
    missing = await having((Role.OWNER, ACME)).refuses(ACCOUNTS, "GetAccount", GetAccount())
    assert missing.violations == [("name", "must be set")]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "CREDENTIAL_MISSING"),
        ((("authorization", ""),), "CREDENTIAL_INVALID"),
        ((("authorization", TEXT),), "CREDENTIAL_INVALID"),
        ((("authorization", "Basic abc"),), "CREDENTIAL_INVALID"),
        ((("authorization", f"Bearer {TEXT}x"),), "CREDENTIAL_INVALID"),
        ((("authorization", f"Bearer {TEXT}"), ("authorization", f"Bearer {TEXT}")), "CREDENTIAL_INVALID"),
    ],
)
async def test_who_proves_nothing_is_not_let_in(metadata: tuple[tuple[str, str], ...], reason: str) -> None:
    """And nothing of what was presented is repeated."""
    door = having((Role.OPERATOR, PLATFORM))
    failure = await door.refuses(ACCOUNTS, "GetAccount", GetAccount(name="accounts/acme"), Call(metadata))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    assert TEXT not in str(failure)
    assert door.refused[-1].caller is NOBODY


async def test_with_a_token_the_token_alone_decides() -> None:
    """A bad token fails whatever the certificate; a certificate alone is enough."""
    door, request = having((Role.OPERATOR, PLATFORM)), GetAccount(name="accounts/acme")
    good, bad = ("spiffe://fleet/x",), (("authorization", "Bearer nonsense"),)
    assert await door.admit(ACCOUNTS, "GetAccount", request, Call((), good)) == door.caller
    assert await door.admit(ACCOUNTS, "GetAccount", request, Call(uris=("spiffe://other",))) == door.caller
    for call in (Call(bad, good), Call((), ("spiffe://other",))):
        assert (await door.refuses(ACCOUNTS, "GetAccount", request, call)).code is grpc.StatusCode.UNAUTHENTICATED


async def test_some_doors_are_open() -> None:
    """Signing in needs no proof; reading models needs who you are, and no role."""
    request = token_service_pb2.ExchangeTokenRequest(id_token="x")
    nobody: Any = Call(())
    assert await having().admit(TOKENS, "ExchangeToken", request, nobody) is NOBODY
    assert await having().admit("grpc.health.v1.Health", "Check", None, nobody) is NOBODY
    assert await having().lets_in(CATALOGUE, "ListModels", catalog_service_pb2.ListModelsRequest())
    failure = await having().refuses(CATALOGUE, "ListModels", catalog_service_pb2.ListModelsRequest(), nobody)
    assert failure.reason == "CREDENTIAL_MISSING"
    channelz = await having((Role.AUDITOR, PLATFORM)).refuses("grpc.channelz.v1.Channelz", "GetServers", None)
    assert channelz.metadata["permission"] == "SERVERS_INSPECT"


async def test_a_method_without_a_rule_is_closed() -> None:
    """To everybody, operators included, so that a new RPC says who may call it before anybody can."""
    operator = having((Role.OPERATOR, PLATFORM))
    with pytest.raises(RpcStatusError) as caught:
        await operator.admit("tallygate.control.v1.AccountService", "Unwritten", None)
    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_binding_is_judged_by_the_scope_in_its_name() -> None:
    """A team's admin takes a binding of the team, and none of the account or a sibling."""
    admin, delete = having((Role.TEAM_ADMIN, SEARCH)), access_service_pb2.DeleteBindingRequest
    assert await admin.lets_in(ACCESS, "DeleteBinding", delete(name="accounts/acme/teams/search/bindings/b"))
    for name in ("accounts/acme/bindings/b", "accounts/acme/teams/chat/bindings/b", "bindings/b"):
        failure = await admin.refuses(ACCESS, "DeleteBinding", delete(name=name))
        assert failure.code is grpc.StatusCode.PERMISSION_DENIED


def test_the_open_servers_caller_may_do_everything() -> None:
    """So that what is narrowed by rights is not narrowed there."""
    assert UNCHECKED.rights is ALL_RIGHTS
