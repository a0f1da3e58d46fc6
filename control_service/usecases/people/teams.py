"""Teams: creation, lookup, change, deletion; and that services are put into living ones."""

from dataclasses import dataclass, replace
from typing import Final

from control_service.domain.account import Account
from control_service.domain.errors import (
    DeniedError,
    InvalidRequestError,
    Reason,
    RefusedError,
    ResourceNotFoundError,
)
from control_service.domain.limit import Place, PlaceKind
from control_service.domain.names import api_key_name, service_name, team_name
from control_service.domain.service import Service, ServiceKind
from control_service.domain.team import Team
from control_service.usecases.access_changes import remove_bindings
from control_service.usecases.idempotent_call import Act
from control_service.usecases.limit_changes import end_limits
from control_service.usecases.ports import Database, Transaction
from tallygate._access.rights import TeamAdmission
from tallygate._access.scope import Scope

TEAMS_OF_ACCOUNT_MAX: Final = 10_000
"""Maximum number of teams of one account that are not deleted."""


@dataclass(frozen=True, slots=True)
class NewTeam:
    """The settings of a team to be created."""

    team_id: str
    display_name: str


class ServiceTeams:
    """The lookup of a service's or API key's team, for a gate in front of calls."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def team_of(self, account_id: str, service_id: str) -> str:
        """The id of the service's team; empty where it has none, or where there is no such service."""
        async with self._database.reading() as tx:
            return await tx.services.team_of(account_id, service_id)

    async def team_of_key(self, account_id: str, key_id: str) -> str:
        """The id of the API key's team, likewise."""
        async with self._database.reading() as tx:
            return await tx.api_keys.team_of(account_id, key_id)


async def create_team(tx: Transaction, account: Account, new: NewTeam, act: Act) -> Team:
    """Adds a team without members.

    Raises:
        ResourceExistsError: the name is or was in use.
        InvalidRequestError: the account has too many teams.
    """
    if await tx.teams.count(account.account_id) >= TEAMS_OF_ACCOUNT_MAX:
        where, most = f"accounts/{account.account_id}", f"{TEAMS_OF_ACCOUNT_MAX:,}"
        what = f"cannot be made: {where} has {most} teams already, the most there can be; delete some first"
        raise InvalidRequestError([("name", what)])
    team = Team(account.account_id, new.team_id, new.display_name, act.now_us)
    await tx.teams.add(team)
    return team


async def get_team(tx: Transaction, account_id: str, team_id: str) -> Team:
    """The team, tombstones included. Raises ResourceNotFoundError."""
    team = await tx.teams.find(account_id, team_id)
    if team is None:
        raise ResourceNotFoundError(team_name(account_id, team_id))
    return team


async def update_team(tx: Transaction, account: Account, team_id: str, display_name: str | None) -> Team:
    """Changes a team's name for people, if one is given. Raises what `_living` raises."""
    team = await _living(tx, account.account_id, team_id)
    if display_name is not None:
        team = replace(team, display_name=display_name)
        await tx.teams.save(team)
    return team


async def delete_team(tx: Transaction, account: Account, team_id: str, act: Act) -> Team:
    """Leaves a tombstone of a team that nothing is in; ends the roles and the limits that it has.

    Raises:
        ResourceNotFoundError: there is no such team.
        RefusedError: RESOURCE_DELETED, or TEAM_IN_USE while a service, an API key or a service account is in the team.
    """
    team = await _living(tx, account.account_id, team_id)
    scope = Scope(account.account_id, team_id)
    service_id = await tx.services.in_team(account.account_id, team_id)
    if service_id is not None:
        name = service_name(account.account_id, service_id)
        message = f"{name} is in {team.name}; move or delete it, then delete the team."
        raise RefusedError(Reason.TEAM_IN_USE, message, resource=name)
    key_id = await tx.api_keys.in_team(account.account_id, team_id)
    if key_id is not None:
        name = api_key_name(account.account_id, key_id)
        message = f"{name} is in {team.name}; delete it, then delete the team."
        raise RefusedError(Reason.TEAM_IN_USE, message, resource=name)
    if await tx.service_accounts.any_in(scope):
        message = f"A service account is in {team.name}; delete it, then delete the team."
        raise RefusedError(Reason.TEAM_IN_USE, message, resource=team.name)
    await remove_bindings(tx, await tx.bindings.on(scope))
    await end_limits(tx, Place(PlaceKind.TEAM, account.account_id, team_id, team_id), act.now_us)
    deleted = replace(team, delete_us=act.now_us)
    await tx.teams.save(deleted)
    return deleted


async def require_team(tx: Transaction, account_id: str, team_id: str) -> None:
    """Makes sure that a service may belong to this team of its account; empty is none. The account is locked.

    Raises:
        InvalidRequestError: there is no such team, or it is deleted.
    """
    if not team_id:
        return
    team = await tx.teams.find(account_id, team_id)
    if team is None or team.deleted:
        state = "there is none" if team is None else "it is deleted"
        name = team_name(account_id, team_id)
        raise InvalidRequestError([("team", f"must be the id of a team of the account; of {name}, {state}")])


async def require_unmoved(tx: Transaction, account_id: str, service_id: str, admission: TeamAdmission | None) -> None:
    """Makes sure that a service is in the team by whose rights a call on it was let in. The account is locked.

    Raises:
        DeniedError: it was moved meanwhile.
    """
    if admission is None:
        return
    scope = Scope(account_id, await tx.services.team_of(account_id, service_id))
    if scope != admission.team:
        name = service_name(account_id, service_id)
        raise DeniedError(
            Reason.PERMISSION_DENIED,
            f"{name} was moved just now, and this call needs the permission {admission.permission} on {scope.name}; "
            "ask who manages it for a role that has it.",
            permission=admission.permission,
            scope=scope.name,
        )


def require_custom(service: Service) -> None:
    """Makes sure that a service may belong to a team. Raises InvalidRequestError: a default one is the account's."""
    if service.kind is ServiceKind.DEFAULT:
        raise InvalidRequestError([("team", f"must be empty: {service.name} is a default service, of no team")])


async def _living(tx: Transaction, account_id: str, team_id: str) -> Team:
    """The team, not deleted. Raises ResourceNotFoundError, or RefusedError RESOURCE_DELETED."""
    team = await get_team(tx, account_id, team_id)
    if team.deleted:
        message = f"{team.name} is deleted, and names are never used again; create another team."
        raise RefusedError(Reason.RESOURCE_DELETED, message, resource=team.name)
    return team
