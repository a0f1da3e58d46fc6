"""Settings of API keys, checked when they are written: teams, owners, services, models, routes.

What was there before is not checked again: a service that was deleted since then keeps its place in a key, and opens
nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from control_service.domain.access_token import has_passed
from control_service.domain.account import Account
from control_service.domain.api_key import ApiKey
from control_service.domain.api_key_reach import is_in_reach
from control_service.domain.default_service import default_service
from control_service.domain.errors import InvalidRequestError
from control_service.domain.member import MemberKind, kind_of_member
from control_service.domain.names import model_name, model_of_default, service_name
from control_service.domain.service import Service
from control_service.usecases.people.teams import require_team
from control_service.usecases.ports import Transaction
from control_service.usecases.resolve_api_key import owners_of

OWNERS: Final = (MemberKind.PERSON, MemberKind.SERVICE_ACCOUNT)
"""Kinds of members that may own a key."""
_OUT_OF_REACH: Final = "is none that this key reaches: a service of its account that is there, of its team or shared"


@dataclass(frozen=True, slots=True)
class Written:
    """A key as it shall be. `before`: as it was, None of a new one; `path`: of the fields in the request."""

    key: ApiKey
    before: ApiKey | None = None
    path: str = ""

    @property
    def fresh_service_ids(self) -> tuple[str, ...]:
        """Services that its scope did not name before."""
        known = (self.before.scope.service_ids or ()) if self.before else ()
        return tuple(one for one in self.key.scope.service_ids or () if one not in known)

    @property
    def fresh_model_ids(self) -> tuple[str, ...]:
        """Models that its scope did not name before."""
        known = (self.before.scope.model_ids or ()) if self.before else ()
        return tuple(one for one in self.key.scope.model_ids or () if one not in known)

    @property
    def fresh_routes(self) -> dict[str, str]:
        """Routes that it did not have before."""
        known = self.before.routes if self.before else {}
        return {model: service for model, service in self.key.routes.items() if known.get(model) != service}


async def require_team_and_owner(tx: Transaction, key: ApiKey, path: str = "") -> None:
    """Makes sure that a new key's team is there, and that its owner is in the account, which is locked.

    Raises InvalidRequestError.
    """
    try:
        await require_team(tx, key.account_id, key.team)
    except InvalidRequestError as error:
        raise InvalidRequestError([(f"{path}{field}", what) for field, what in error.violations]) from error
    if not key.owner:
        return
    end_us = (await owners_of(tx, [key]))[key.owner].end_us(key.account_id)
    if kind_of_member(key.owner) not in OWNERS or has_passed(end_us, key.create_us):
        what = "must be a person or a service account with a role in the account, and not disabled"
        raise InvalidRequestError([(f"{path}owner", what)])


async def require_reach(tx: Transaction, account: Account, written: Written, now_us: int) -> None:
    """Makes sure that what a key names is there and in reach. Raises InvalidRequestError with all that is not."""
    named = {*written.fresh_service_ids, *written.fresh_routes.values()}
    services = await _services(tx, account, named, now_us) if named else {}
    asked = {*written.fresh_model_ids, *written.fresh_routes}
    models = await tx.models.known(asked) if asked else frozenset[str]()
    problems = [*_of_scope(written, services, models), *_of_routes(written, services)]
    if problems:
        raise InvalidRequestError([(written.path + field, what) for field, what in problems])


def _of_scope(written: Written, services: Mapping[str, Service], models: frozenset[str]) -> Iterator[tuple[str, str]]:
    for service_id in written.fresh_service_ids:
        service = services.get(service_id)
        if service is None or not is_in_reach(written.key, service):
            yield "scope.services", f"{_service(written, service_id)} {_OUT_OF_REACH}"
    for model_id in written.fresh_model_ids:
        if model_id not in models:
            yield "scope.models", f"there is no {model_name(model_id)}"


def _of_routes(written: Written, services: Mapping[str, Service]) -> Iterator[tuple[str, str]]:
    fresh = written.fresh_routes
    for model_id, service_id in written.key.routes.items():
        name = _service(written, service_id)
        if not written.key.scope.names(service_id, model_id):
            yield "routes.routes", f"the route of {model_name(model_id)} to {name} is not within the scope of the key"
        elif model_id in fresh:
            service = services.get(service_id)
            if service is None or not is_in_reach(written.key, service):
                yield "routes.routes", f"{name} {_OUT_OF_REACH}"
            elif service.model_id != model_id:
                yield "routes.routes", f"{name} serves {model_name(service.model_id)}, and not {model_name(model_id)}"


def _service(written: Written, service_id: str) -> str:
    return service_name(written.key.account_id, service_id)


async def _services(tx: Transaction, account: Account, service_ids: set[str], now_us: int) -> dict[str, Service]:
    """Those of these services that there are, stored or not, tombstones included."""
    subjects = await tx.configs.subjects({(account.account_id, one) for one in service_ids}, now_us)
    found = {service_id: service for (_, service_id), service in subjects.services.items()}
    for service_id in service_ids - found.keys():
        model = subjects.models.get(model_of_default(service_id) or "")
        if model is not None:
            found[service_id] = default_service(account, model)
    return found
