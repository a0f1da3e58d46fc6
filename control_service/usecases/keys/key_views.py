"""API keys as people see them."""

from collections.abc import Sequence
from dataclasses import dataclass

from control_service.domain.api_key import ApiKey, KeyState
from control_service.domain.errors import ResourceNotFoundError
from control_service.domain.names import api_key_name, service_name
from control_service.domain.service import Service
from control_service.usecases.key_ports import KeyFilter
from control_service.usecases.people.services import find_service
from control_service.usecases.ports import Transaction
from control_service.usecases.resolve_api_key import states_of


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key, and whether it opens anything as of one moment. `now_us`: that moment."""

    key: ApiKey
    state: KeyState
    now_us: int


async def view_of(tx: Transaction, key: ApiKey, now_us: int) -> KeyView:
    """A key as of now."""
    (state,) = await states_of(tx, [key], now_us)
    return KeyView(key, state, now_us)


async def get_key(tx: Transaction, account_id: str, key_id: str, now_us: int) -> KeyView:
    """The key of this name, tombstones included. Raises ResourceNotFoundError."""
    found = await tx.api_keys.find(account_id, key_id)
    if found is None:
        raise ResourceNotFoundError(api_key_name(account_id, key_id))
    return await view_of(tx, found, now_us)


async def service_of_keys(tx: Transaction, wanted: KeyFilter) -> Service | None:
    """The service for which keys are listed; None where all are.

    Raises:
        ResourceNotFoundError: there is none of that name, as far as the caller sees.
    """
    if wanted.account_id is None or wanted.service_id is None:
        return None
    if wanted.sight.teams_of(wanted.account_id) == frozenset():
        raise ResourceNotFoundError(service_name(wanted.account_id, wanted.service_id))
    account = await tx.accounts.get(wanted.account_id)
    service = await find_service(tx, account, wanted.service_id)
    if not wanted.sight.shows(account.account_id, service.team):
        raise ResourceNotFoundError(service.name)
    return service


async def list_keys(
    tx: Transaction, wanted: KeyFilter, after: tuple[str, str], limit: int, now_us: int
) -> Sequence[KeyView]:
    """Keys whose (account id, key id) is greater than `after`, in that order. Raises ResourceNotFoundError."""
    if wanted.account_id is not None:
        await tx.accounts.get(wanted.account_id)
    keys = await tx.api_keys.page(wanted, after, limit)
    states = await states_of(tx, keys, now_us)
    return [KeyView(key, state, now_us) for key, state in zip(keys, states, strict=True)]
