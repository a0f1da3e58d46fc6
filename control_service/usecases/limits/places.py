"""What limits hang on: whether it is there, who may hang something on it, and how much hangs there already."""

from control_service.domain.asker import Asker, lacks
from control_service.domain.default_service import default_service
from control_service.domain.errors import InvalidRequestError
from control_service.domain.limit import Place, PlaceKind
from control_service.domain.limit_bounds import LIMITS_OF_SUBJECT_MAX, LIMITS_ON_PLACE_MAX
from control_service.domain.names import model_of_default
from control_service.domain.service import Service
from control_service.usecases.ports import Transaction
from tallygate._access.permission import Permission
from tallygate._access.scope import PLATFORM, Scope


async def living_place(tx: Transaction, named: Place, path: str = "place") -> Place:
    """The place with its unique id.

    Raises:
        InvalidRequestError: there is nothing of that name, or it is deleted.
    """
    uid = await _uid(tx, named)
    if uid is None:
        raise InvalidRequestError([(path, f"must be there, and {named.name} is not, or is deleted")])
    return named._replace(uid=uid)


async def require_manages(tx: Transaction, place: Place, asker: Asker) -> None:
    """Makes sure that the asker may set limits here: on an account and a team, nobody raises their own.

    Raises:
        DeniedError: PERMISSION_DENIED.
    """
    scope = Scope(place.account_id) if place.kind is PlaceKind.TEAM else await _scope(tx, place)
    _require(asker, Permission.LIMITS_MANAGE if place.account_id else Permission.MODELS_MANAGE, scope)


async def require_reads(tx: Transaction, place: Place, asker: Asker) -> None:
    """Makes sure that the asker may read limits here. Raises DeniedError: PERMISSION_DENIED."""
    _require(asker, Permission.LIMITS_READ if place.account_id else Permission.MODELS_MANAGE, await _scope(tx, place))


async def require_few(tx: Transaction, place: Place) -> None:
    """Makes sure that one more limit has room here. Raises InvalidRequestError."""
    if await tx.limits.count_on(place) >= LIMITS_ON_PLACE_MAX:
        problem = f"has {LIMITS_ON_PLACE_MAX} limits, the most there may be; delete one first"
        raise InvalidRequestError([("place", problem)])
    if await tx.limits.count(place.subject) >= LIMITS_OF_SUBJECT_MAX:
        problem = f"{place.subject.name} has {LIMITS_OF_SUBJECT_MAX} limits, the most there may be; delete one first"
        raise InvalidRequestError([("name", problem)])


async def smallest_request_tokens(tx: Transaction, place: Place, model_id: str) -> int:
    """Tokens of the smallest request of the one model that a limit counts; 0 where it counts those of several."""
    if place.kind is PlaceKind.MODEL:
        model_id = place.resource_id
    elif place.kind is PlaceKind.SERVICE:
        service = await _service(tx, place)
        model_id = service.model_id if service is not None else ""
    model = await tx.models.find(model_id) if model_id else None
    return model.smallest_request_tokens if model is not None else 0


async def _uid(tx: Transaction, place: Place) -> str | None:
    match place.kind:
        case PlaceKind.MODEL:
            return "" if await tx.models.find(place.resource_id) is not None else None
        case PlaceKind.ACCOUNT:
            return ""
        case PlaceKind.TEAM:
            team = await tx.teams.find(place.account_id, place.resource_id)
            return None if team is None or team.deleted else team.team_id
        case PlaceKind.SERVICE:
            service = await _service(tx, place)
            return None if service is None or service.deleted else service.uid
        case PlaceKind.KEY:
            key = await tx.api_keys.find(place.account_id, place.resource_id)
            return None if key is None or key.delete_us is not None else key.uid


async def _service(tx: Transaction, place: Place) -> Service | None:
    """The service, stored or not, tombstones included."""
    stored = await tx.services.find(place.account_id, place.resource_id)
    if stored is not None:
        return stored
    model = await tx.models.find(model_of_default(place.resource_id) or "")
    return None if model is None else default_service(await tx.accounts.get(place.account_id), model)


async def _scope(tx: Transaction, place: Place) -> Scope:
    """Where the place lies: in a team, or else in its account."""
    match place.kind:
        case PlaceKind.MODEL:
            return PLATFORM
        case PlaceKind.TEAM:
            return Scope(place.account_id, place.resource_id)
        case PlaceKind.SERVICE:
            return Scope(place.account_id, await tx.services.team_of(place.account_id, place.resource_id))
        case PlaceKind.KEY:
            return Scope(place.account_id, await tx.api_keys.team_of(place.account_id, place.resource_id))
        case PlaceKind.ACCOUNT:
            return Scope(place.account_id)


def _require(asker: Asker, permission: Permission, scope: Scope) -> None:
    if not asker.rights.allows(permission, scope):
        message = (
            f"This call needs the permission {permission} on {scope.name}; ask who manages it for a role that has it."
        )
        raise lacks(permission, scope, message)
