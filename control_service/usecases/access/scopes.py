"""Scopes in which something is made: they must be there."""

from control_service.domain.errors import Reason, RefusedError, ResourceNotFoundError
from control_service.domain.names import team_name
from control_service.usecases.ports import Transaction
from tallygate._access.scope import Scope


async def require_scope(tx: Transaction, scope: Scope) -> None:
    """Makes sure that a scope is there; of an account, that it is, was seen when it was locked.

    Raises:
        ResourceNotFoundError: there is no such team.
        RefusedError: RESOURCE_DELETED, the team is deleted.
    """
    if not scope.team_id:
        return
    team = await tx.teams.find(scope.account_id, scope.team_id)
    if team is None:
        raise ResourceNotFoundError(team_name(scope.account_id, scope.team_id))
    if team.deleted:
        message = f"{team.name} is deleted, and names are never used again; create another team."
        raise RefusedError(Reason.RESOURCE_DELETED, message, resource=team.name)
