"""Lists of services in order of their names: stored ones, and default ones that exist without being stored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from control_service.domain.account import Account
from control_service.domain.default_service import default_service
from control_service.domain.errors import ResourceNotFoundError
from control_service.domain.names import model_of_default, team_name
from control_service.domain.reservation import reserved
from control_service.domain.service import Service, ServiceView, status_of
from control_service.domain.status import PostpaidState, Status
from control_service.usecases.ports import ServiceFilter, Transaction
from tallygate._wire.names import DEFAULT_PREFIX

_BATCHES_MAX: Final = 20
"""Maximum number of batches that are read to fill one page: what time alone has just changed may leave it short."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ServiceQuery:
    """The services to list, the (account id, service id) before them, and how many; `status` is None for any."""

    wanted: ServiceFilter
    status: Status | None
    after: Key
    limit: int


@dataclass(frozen=True, slots=True)
class ServicePage:
    """One page of services; `next_after` is the key before the next page, None on the last."""

    services: list[ServiceView]
    next_after: Key | None


async def list_services(tx: Transaction, query: ServiceQuery, now_us: int) -> ServicePage:
    """A page of the services that are seen. Without an account only stored services are listed.

    Of a status are those that were stored with it and still have it: what time alone changes is stored within seconds.
    Default services that nobody acted on belong to no team: who sees the account sees them.

    Raises:
        ResourceNotFoundError: there is no such account, model, or team of an account that is seen as a whole.
    """
    account = None if query.wanted.account_id is None else await tx.accounts.get(query.wanted.account_id)
    if query.wanted.model_id is not None:
        await tx.models.get(query.wanted.model_id)
    if account is not None and query.wanted.team is not None and query.wanted.sight.shows(account.account_id):
        await _require_team(tx, account.account_id, query.wanted.team)
    found: list[ServiceView] = []
    after = query.after
    for _ in range(_BATCHES_MAX):
        batch = await _batch(tx, replace(query, after=after), account)
        views = await service_views(tx, batch, now_us)
        found += [view for view in views if query.status in (None, view.derived.status)]
        if len(found) > query.limit:
            page = found[: query.limit]
            return ServicePage(page, key_of(page[-1].service))
        if len(batch) <= query.limit:
            return ServicePage(found, None)
        after = key_of(batch[-1])
    return ServicePage(found, after)


async def _require_team(tx: Transaction, account_id: str, team_id: str) -> None:
    if await tx.teams.find(account_id, team_id) is None:
        raise ResourceNotFoundError(team_name(account_id, team_id))


def key_of(service: Service) -> Key:
    """The key of a service in lists."""
    return service.account_id, service.service_id


async def _batch(tx: Transaction, query: ServiceQuery, account: Account | None) -> Sequence[Service]:
    """Up to one more than a page of services."""
    size = query.limit + 1
    stored = await tx.services.page(replace(query.wanted, told_status=query.status), query.after, size)
    is_of_teams = query.wanted.team is not None or (
        account is not None and not query.wanted.sight.shows(account.account_id)
    )
    if account is None or is_of_teams or query.status not in (None, Status.NOT_ENABLED):
        return stored
    defaults = await _defaults(tx, account, query.wanted.model_id, query.after[1], size)
    services = {service.service_id: service for service in defaults}
    # Those of another status too, though they are not shown: by the number of a batch it is known whether more come.
    for service in (*await tx.services.among(account.account_id, set(services)), *stored):
        services[service.service_id] = service
    return sorted(services.values(), key=lambda service: service.service_id)[:size]


async def _defaults(
    tx: Transaction, account: Account, model_id: str | None, after_id: str, limit: int
) -> list[Service]:
    """The account's default services after this id, as they would be if nobody had ever acted on them."""
    if after_id > DEFAULT_PREFIX and not after_id.startswith(DEFAULT_PREFIX):
        return []
    if model_id is not None:
        model = await tx.models.find(model_id)
        service = None if model is None else default_service(account, model)
        return [service] if service is not None and service.service_id > after_id else []
    models = await tx.models.page(model_of_default(after_id) or "", limit)
    return [default_service(account, model) for model in models]


async def service_views(tx: Transaction, services: Sequence[Service], now_us: int) -> list[ServiceView]:
    """The services as of this moment, in their order. However many they are, rows of each kind are read at once."""
    paying = {service.model_id for service in services if service.postpaid is PostpaidState.ENABLED}
    in_force = await tx.models.in_force(paying, now_us) if paying else frozenset()
    with_reservations = [service for service in services if service.reservation_count]
    active = await tx.batches.reservations(with_reservations, now_us) if with_reservations else {}
    accounts = await tx.batches.accounts({service.account_id for service in services})
    views = []
    for service in services:
        account, rates = accounts[service.account_id], reserved(active.get(service.uid, []), now_us)
        derived = status_of(service, account, rates, now_us, price_in_force=service.model_id in in_force)
        views.append(ServiceView(account, service, derived, rates))
    return views
