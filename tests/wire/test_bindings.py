"""Roles given and taken on a real server, by operators, owners and teams' admins."""

from pathlib import Path

import grpc
import pytest

from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import team_service_pb2 as teams
from tallygate.control.v1 import token_service_pb2 as tokens
from tests.harness.wire.callers import calling, guarded_control
from tests.harness.wire.control_failures import Failure, failure
from tests.harness.wire.control_fleet import Control

ACME, SEARCH = "accounts/acme", "accounts/acme/teams/search"
ALICE, BOB = "person:https://issuer.example#alice", "person:https://issuer.example#bob"
OWNER, ADMIN = f"{ACME}/serviceAccounts/owner", f"{SEARCH}/serviceAccounts/admin"
Role = role_pb2.Role


def binding(
    scope: str = ACME, member: str = ALICE, role: "role_pb2.Role.ValueType" = role_pb2.ROLE_VIEWER, **more: object
) -> access.CreateBindingRequest:
    return access.CreateBindingRequest(scope=scope, member=member, role=role, **more)  # type: ignore[arg-type]


async def give(control: Control, request: access.CreateBindingRequest) -> str:
    """Gives a role; the binding's name."""
    return str((await control.access.CreateBinding(request)).binding.name)


async def refused(control: Control, request: access.CreateBindingRequest) -> Failure:
    return await failure(control.access.CreateBinding(request))


async def names(control: Control, **wanted: str) -> list[str]:
    listed = await control.access.ListBindings(access.ListBindingsRequest(**wanted))  # type: ignore[arg-type]
    return [one.name for one in listed.bindings]


async def caller_with(control: Control, name: str, role: "role_pb2.Role.ValueType") -> str:
    """The secret of a new service account that has a role where it was made."""
    await control.tokens.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=name))
    await give(control, binding(name.rpartition("/serviceAccounts/")[0], f"serviceAccount:{name}", role))
    made = await control.tokens.CreateAccessToken(tokens.CreateAccessTokenRequest(service_account=name))
    return str(made.secret)


async def stocked(control: Control) -> None:
    await control.stock()
    await control.teams.CreateTeam(teams.CreateTeamRequest(name=SEARCH))


async def test_the_same_binding_is_the_one_that_is_there(tmp_path: Path) -> None:
    """However often it is given; taken, it is gone, and can be given again."""
    async with guarded_control(tmp_path) as control:
        await stocked(control)
        name = await give(control, binding())
        assert await give(control, binding()) == name
        assert await names(control, scope=ACME) == [name]
        delete = access.DeleteBindingRequest(name=name)
        assert (await control.access.DeleteBinding(delete)).binding.member == ALICE
        assert (await failure(control.access.DeleteBinding(delete))).code is grpc.StatusCode.NOT_FOUND
        assert await give(control, binding()) != name


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (binding("platform"), "role"),
        (binding(SEARCH, role=Role.ROLE_OWNER), "role"),
        (binding(role=Role.ROLE_TEAM_ADMIN), "role"),
        (binding(node_names=["a"]), "node_names"),
        (binding("platform", role=Role.ROLE_NODE, node_names=["a*b"]), "node_names[0]"),
        (binding("platform", role=Role.ROLE_NODE, node_names=[f"n{number}" for number in range(17)]), "node_names"),
        (binding(member="alice"), "member"),
        (binding(member=f"serviceAccount:{SEARCH}/serviceAccounts/robot"), "member"),
        (binding(member=f"serviceAccount:{ACME}/serviceAccounts/none"), "member"),
        (binding(role=role_pb2.ROLE_UNSPECIFIED), "role"),
        (binding("acme"), "scope"),
    ],
)
async def test_a_binding_that_cannot_be_is_refused(
    tmp_path: Path, request_: access.CreateBindingRequest, field: str
) -> None:
    """A role where it is not given, names of nodes for no node, members that are none or lie elsewhere."""
    async with guarded_control(tmp_path) as control:
        await stocked(control)
        assert (await refused(control, request_)).fields == [field]


async def test_a_team_must_be_there(tmp_path: Path) -> None:
    """A deleted one is none; with a team its bindings go, and while it has service accounts, it stays."""
    async with guarded_control(tmp_path) as control:
        await stocked(control)
        await give(control, binding(SEARCH, role=Role.ROLE_TEAM_MEMBER))
        other = binding(f"{ACME}/teams/other", role=Role.ROLE_TEAM_MEMBER)
        assert (await refused(control, other)).reason == "RESOURCE_NOT_FOUND"
        await control.tokens.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=ADMIN))
        delete = teams.DeleteTeamRequest(name=SEARCH)
        assert (await failure(control.teams.DeleteTeam(delete))).reason == "TEAM_IN_USE"
        await control.tokens.DeleteServiceAccount(tokens.DeleteServiceAccountRequest(name=ADMIN))
        await control.teams.DeleteTeam(delete)
        assert await names(control) == []
        assert (await refused(control, binding(SEARCH, role=Role.ROLE_TEAM_MEMBER))).reason == "RESOURCE_DELETED"
        make = tokens.CreateServiceAccountRequest(name=f"{SEARCH}/serviceAccounts/new")
        assert (await failure(control.tokens.CreateServiceAccount(make))).reason == "RESOURCE_DELETED"


async def test_an_owner_gives_what_owners_give(tmp_path: Path) -> None:
    """Within the account, and never to itself; a viewer gives nothing."""
    async with guarded_control(tmp_path) as control:
        await stocked(control)
        secret = await caller_with(control, OWNER, Role.ROLE_OWNER)
        viewer = await caller_with(control, f"{ACME}/serviceAccounts/viewer", Role.ROLE_VIEWER)
        async with calling(control.address, secret) as owner, calling(control.address, viewer) as other:
            for role in (Role.ROLE_OWNER, Role.ROLE_BILLING, Role.ROLE_VIEWER, Role.ROLE_METER):
                await give(owner, binding(member=ALICE, role=role))
            await give(owner, binding(SEARCH, role=Role.ROLE_TEAM_ADMIN))
            own = await refused(owner, binding(member=f"serviceAccount:{OWNER}", role=Role.ROLE_BILLING))
            assert (own.code, own.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "OWN_BINDING")
            assert (await refused(owner, binding("platform", role=Role.ROLE_AUDITOR))).reason == "PERMISSION_DENIED"
            assert (await refused(owner, binding("accounts/other"))).reason == "RESOURCE_NOT_FOUND"
            assert (await refused(other, binding())).reason == "PERMISSION_DENIED"
            own_binding = (await names(owner, member=f"serviceAccount:{OWNER}"))[0]
            take = access.DeleteBindingRequest(name=own_binding)
            assert (await failure(owner.access.DeleteBinding(take))).reason == "OWN_BINDING"


async def test_a_teams_admin_gives_what_is_the_teams(tmp_path: Path) -> None:
    """Nothing of the account's, and nothing of another team's."""
    async with guarded_control(tmp_path) as control:
        await stocked(control)
        secret = await caller_with(control, ADMIN, Role.ROLE_TEAM_ADMIN)
        async with calling(control.address, secret) as admin:
            name = await give(admin, binding(SEARCH, role=Role.ROLE_TEAM_MEMBER))
            assert (await refused(admin, binding())).reason == "PERMISSION_DENIED"
            meter = await refused(admin, binding(f"{ACME}/teams/other", role=Role.ROLE_TEAM_MEMBER))
            assert meter.reason == "PERMISSION_DENIED"
            assert name in await names(admin)
            assert await names(admin) == await names(control, scope=SEARCH)
            await give(control, binding(role=Role.ROLE_OWNER))
            assert await names(admin, scope=ACME) == await names(control, scope=SEARCH)


async def test_the_last_owner_is_taken_by_operators_only(tmp_path: Path) -> None:
    """An owner takes another one, until one is left; deleting a service account that is the last is taking it, too."""
    async with guarded_control(tmp_path) as control:
        await stocked(control)
        secret = await caller_with(control, OWNER, Role.ROLE_OWNER)
        second = f"{ACME}/serviceAccounts/second"
        secret_2 = await caller_with(control, second, Role.ROLE_OWNER)
        async with calling(control.address, secret) as owner, calling(control.address, secret_2) as other:
            (name,) = await names(owner, member=f"serviceAccount:{second}")
            take = access.DeleteBindingRequest(name=name)
            await owner.access.DeleteBinding(take)
            make = tokens.CreateServiceAccountRequest(name=f"{ACME}/serviceAccounts/third")
            assert (await failure(other.tokens.CreateServiceAccount(make))).reason == "RESOURCE_NOT_FOUND"
            delete = tokens.DeleteServiceAccountRequest(name=OWNER)
            assert (await failure(owner.tokens.DeleteServiceAccount(delete))).reason == "LAST_OWNER"
        await control.tokens.DeleteServiceAccount(delete)
        assert await names(control, scope=ACME) == []


async def test_principals_are_listed_to_operators(tmp_path: Path) -> None:
    """Persons can be disabled before they ever came; groups and the first operator cannot."""
    async with guarded_control(tmp_path) as control:
        await stocked(control)
        await control.access.DisablePrincipal(access.DisablePrincipalRequest(member=BOB))
        listed = await control.access.ListPrincipals(access.ListPrincipalsRequest(show_disabled_only=True))
        assert [(one.member, one.disabled) for one in listed.principals] == [(BOB, True)]
        for member in ("group:https://issuer.example#staff", "serviceAccount:serviceAccounts/operator", "bob"):
            request = access.DisablePrincipalRequest(member=member)
            assert "member" in (await failure(control.access.DisablePrincipal(request))).fields
        unknown = access.DisablePrincipalRequest(member=f"serviceAccount:{OWNER}")
        assert (await failure(control.access.DisablePrincipal(unknown))).reason == "RESOURCE_NOT_FOUND"


async def test_the_first_operator_is_named_and_bindings_come_in_pages(tmp_path: Path) -> None:
    """Pages follow each other without gaps."""
    async with guarded_control(tmp_path) as control:
        await stocked(control)
        who = await control.access.WhoAmI(access.WhoAmIRequest())
        assert (who.member, who.access_token) == ("serviceAccount:serviceAccounts/operator", "")
        for role in (Role.ROLE_OWNER, Role.ROLE_BILLING, Role.ROLE_VIEWER):
            await give(control, binding(role=role))
        found, token = [], ""
        while True:
            page = await control.access.ListBindings(
                access.ListBindingsRequest(member=ALICE, page_size=2, page_token=token)
            )
            found += [one.name for one in page.bindings]
            token = page.next_page_token
            if not token:
                break
        assert found == await names(control)
        assert (await control.accounts.ListAccounts(accounts.ListAccountsRequest())).accounts
