"""Teams, and the services that belong to them."""

from dataclasses import replace

import pytest

from control_service.domain.errors import (
    DeniedError,
    InvalidRequestError,
    Reason,
    RefusedError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from control_service.domain.service_account import ServiceAccount
from control_service.domain.team import Team
from control_service.usecases.fleet.config_lookup import lookup_configs
from control_service.usecases.people.services import ServiceUpdate, delete_service, update_service
from control_service.usecases.people.teams import delete_team, get_team, require_unmoved, update_team
from control_service.usecases.ports import TeamFilter
from tallygate._access.permission import Permission
from tallygate._access.rights import TeamAdmission
from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tests.harness.control.access import ACME, ALICE, SEARCH, bound, store
from tests.harness.control.people_harness import DEFAULT, Desk


async def delete(desk: Desk, team_id: str) -> Team:
    return await desk.of_account(lambda tx, account, act: delete_team(tx, account, team_id, act))


async def rename(desk: Desk, display_name: str | None) -> Team:
    return await desk.of_account(lambda tx, account, _: update_team(tx, account, "blue", display_name))


async def move(desk: Desk, team_id: str, service_id: str = "chat") -> None:
    update = ServiceUpdate(None, team_id, None)
    await desk.change(lambda tx, _, service, act: update_service(tx, service, update, act), service_id)


async def found(desk: Desk, wanted: TeamFilter, after: str = "", limit: int = 10) -> list[str]:
    async with desk.database.reading() as tx:
        return [team.team_id for team in await tx.teams.page(wanted, after, limit)]


async def team_in_config(desk: Desk, service_id: str = "chat") -> str:
    """The team of the service as nodes have it."""
    async with desk.database.reading() as tx:
        name = f"accounts/acme/services/{service_id}"
        (config,) = await lookup_configs(tx, [name], version=await tx.config_version(), now_us=desk.now_us)
    assert config.terms is not None
    return config.terms.team


async def test_teams_are_listed_by_id_and_only_those_that_are_seen(desk: Desk) -> None:
    """Deleted ones on request; an account's own alone."""
    for team_id in ("blue", "red", "a-1", "green"):
        await desk.create_team(team_id)
    await delete(desk, "green")
    assert await found(desk, TeamFilter("acme")) == ["a-1", "blue", "red"]
    assert await found(desk, TeamFilter("acme"), after="a-1", limit=1) == ["blue"]
    assert await found(desk, TeamFilter("acme", show_deleted=True)) == ["a-1", "blue", "green", "red"]
    assert await found(desk, TeamFilter("acme", team_ids=frozenset({"red", "green", "none"}))) == ["red"]
    assert await found(desk, TeamFilter("acme", team_ids=frozenset())) == []
    assert await found(desk, TeamFilter("bolt")) == []


async def test_a_name_is_never_used_again(desk: Desk) -> None:
    """A deleted team leaves a tombstone, which is neither changed nor deleted again."""
    await desk.create_team("blue")
    with pytest.raises(ResourceExistsError):
        await desk.create_team("blue")
    assert (await delete(desk, "blue")).delete_us == desk.now_us
    with pytest.raises(ResourceExistsError):
        await desk.create_team("blue")
    for change in (
        delete(desk, "blue"),
        rename(desk, "Blue"),
    ):
        with pytest.raises(RefusedError) as caught:
            await change
        assert caught.value.reason is Reason.RESOURCE_DELETED
    async with desk.database.reading() as tx:
        assert (await get_team(tx, "acme", "blue")).deleted
        with pytest.raises(ResourceNotFoundError, match="accounts/acme/teams/red"):
            await get_team(tx, "acme", "red")


async def test_an_update_changes_the_display_name_alone(desk: Desk) -> None:
    """What is not given stays."""
    made = await desk.create_team("blue")
    for given, left in (("Blue", "Blue"), (None, "Blue"), ("", "")):
        await rename(desk, given)
        async with desk.database.reading() as tx:
            team = await get_team(tx, "acme", "blue")
        assert (team.display_name, team.create_us) == (left, made.create_us)


async def test_a_team_with_a_living_service_is_not_deleted(desk: Desk) -> None:
    """Once its services are moved, or deleted, it is."""
    await desk.create_team("blue")
    await desk.create_team("red")
    await desk.create("chat", team="blue")
    await desk.create("talk", team="blue")
    with pytest.raises(RefusedError) as caught:
        await delete(desk, "blue")
    assert caught.value.reason is Reason.TEAM_IN_USE
    assert caught.value.metadata == {"resource": "accounts/acme/services/chat"}
    await move(desk, "red", "chat")
    await desk.change(delete_service, "talk")
    assert (await delete(desk, "blue")).deleted


async def test_a_service_belongs_to_a_living_team_of_its_account(desk: Desk) -> None:
    """When it is created, and when it is moved; the field is named where the team is none."""
    await desk.create_account("bolt")
    async with desk.database.writing() as tx:
        await tx.teams.add(Team("bolt", "red", "", desk.now_us))
    await desk.create_team("blue")
    await desk.create_team("gone")
    await delete(desk, "gone")
    await desk.create("chat", team="blue")
    for team_id in ("red", "gone", "none"):
        for act in (desk.create("other", team=team_id), move(desk, team_id)):
            with pytest.raises(InvalidRequestError, match=f"accounts/acme/teams/{team_id}") as caught:
                await act
            assert [path for path, _ in caught.value.violations] == ["team"]
    assert (await desk.show()).service.team == "blue"


async def test_a_default_service_belongs_to_no_team(desk: Desk) -> None:
    """It is the account's; that it shall have none is no mistake."""
    await desk.create_team("blue")
    with pytest.raises(InvalidRequestError, match="default service"):
        await move(desk, "blue", DEFAULT)
    await move(desk, "", DEFAULT)


async def test_nodes_are_told_of_the_team(desk: Desk) -> None:
    """From the creation on, and of each move; a move to where the service is changes no version."""
    await desk.create_team("blue")
    await desk.create("chat", team="blue")
    assert await team_in_config(desk) == "blue"
    for team_id, is_new in (("blue", False), ("", True), ("", False), ("blue", True)):
        version = await desk.version()
        await move(desk, team_id)
        assert await team_in_config(desk) == team_id
        assert (await desk.version() > version) is is_new


async def test_the_gate_looks_up_the_team_of_a_service(desk: Desk) -> None:
    """Of what is not there, or has no team, it is empty."""
    await desk.create_team("blue")
    await desk.create("chat", team="blue")
    await desk.create("talk")
    async with desk.database.reading() as tx:
        teams = [await tx.services.team_of("acme", service_id) for service_id in ("chat", "talk", "none", DEFAULT)]
        assert teams == ["blue", "", "", ""]
        assert await tx.services.team_of("bolt", "chat") == ""


async def test_a_service_that_was_moved_meanwhile_is_not_changed(desk: Desk) -> None:
    """What let a call in is looked at again with the account locked; where it was an account's right, nothing is."""
    await desk.create_team("blue")
    await desk.create_team("red")
    await desk.create("chat", team="red")
    admitted = TeamAdmission(Permission.SERVICES_MANAGE, Scope("acme", "blue"))
    async with desk.database.reading() as tx:
        with pytest.raises(DeniedError) as caught:
            await require_unmoved(tx, "acme", "chat", admitted)
        assert caught.value.metadata == {"permission": "SERVICES_MANAGE", "scope": "accounts/acme/teams/red"}
        await require_unmoved(tx, "acme", "chat", admitted._replace(team=Scope("acme", "red")))
        await require_unmoved(tx, "acme", "chat", None)


async def test_a_team_goes_with_its_bindings(desk: Desk) -> None:
    """Nodes hear of the members; a service account keeps the team; bindings elsewhere stay."""
    await desk.create_team("search")
    robot = ServiceAccount(SEARCH, "robot", "", ALICE, desk.now_us)
    async with desk.database.writing() as tx:
        await store(tx, bound(ALICE, Role.TEAM_ADMIN, SEARCH), bound(ALICE, Role.VIEWER, ACME))
        await tx.service_accounts.add(robot)
    with pytest.raises(RefusedError) as caught:
        await delete(desk, "search")
    assert caught.value.reason is Reason.TEAM_IN_USE
    async with desk.database.writing() as tx:
        await tx.service_accounts.save(replace(robot, delete_us=desk.now_us))
    version = await desk.version()
    assert (await delete(desk, "search")).deleted
    async with desk.database.reading() as tx:
        assert [binding.grant.role for binding in await tx.bindings.of([ALICE])] == [Role.VIEWER]
        assert (await tx.access_versions.since(version)).members == {ALICE}
