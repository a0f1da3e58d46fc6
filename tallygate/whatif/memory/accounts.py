"""Accounts, the catalogue, services and what they bought, by dictionaries; see `control_service.usecases.ports`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from control_service.domain.account import Account
from control_service.domain.bucket import Bucket
from control_service.domain.errors import ResourceNotFoundError
from control_service.domain.model import Model
from control_service.domain.names import account_name, model_name
from control_service.domain.pot import PotKey, PotKind
from control_service.domain.price import Price
from control_service.domain.reservation import Reservation
from control_service.domain.service import Service
from control_service.domain.status import PostpaidState, StopReason
from control_service.usecases.fleet_ports import Usage
from tallygate.whatif.memory.tables import Tables

MINUTE_US: Final = 60_000_000
"""Length of time whose usage gathers in one line of the ledger."""


class AccountTable:
    """Accounts by id."""

    def __init__(self, tables: Tables) -> None:
        self._accounts = tables.accounts

    async def get(self, account_id: str) -> Account:
        if account_id not in self._accounts:
            raise ResourceNotFoundError(account_name(account_id))
        return self._accounts[account_id]

    lock = get

    async def save(self, account: Account) -> None:
        self._accounts[account.account_id] = account

    add = save

    async def first_create_us(self) -> int | None:
        return min((account.create_us for account in self._accounts.values()), default=None)


class ModelTable:
    """Models and their prices. No model has an alias, and no price is withdrawn."""

    def __init__(self, tables: Tables) -> None:
        self._models, self._prices = tables.models, tables.prices

    async def find(self, model_id: str) -> Model | None:
        return self._models.get(model_id)

    async def get(self, model_id: str) -> Model:
        if model_id not in self._models:
            raise ResourceNotFoundError(model_name(model_id))
        return self._models[model_id]

    async def save(self, model: Model) -> None:
        self._models[model.model_id] = model

    add = save

    async def add_price(self, price: Price) -> None:
        self._prices.append(price)

    async def prices(self, model_ids: Collection[str]) -> list[Price]:
        return [price for price in self._prices if price.model_id in model_ids]

    async def in_force(self, model_ids: Collection[str], now_us: int) -> frozenset[str]:
        return frozenset(price.model_id for price in await self.prices(model_ids) if price.effective_us <= now_us)


class ServiceTable:
    """Services and claims of trials. No model is retired, and no service deleted."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def find(self, account_id: str, service_id: str) -> Service | None:
        return self._tables.services.get((account_id, service_id))

    async def save(self, service: Service) -> None:
        key = service.account_id, service.service_id
        self._tables.services[key] = service
        self._tables.service_keys[service.account_id, service.uid] = key

    add = save

    async def team_of(self, account_id: str, service_id: str) -> str:
        found = await self.find(account_id, service_id)
        return "" if found is None else found.team

    async def with_postpaid(self, account_id: str) -> list[Service]:
        stored = sorted(self._tables.services.items())
        return [one for key, one in stored if key[0] == account_id and one.postpaid is PostpaidState.ENABLED]

    async def behind_model(self, model_id: str, now_us: int, limit: int) -> list[tuple[str, str]]:
        if not await ModelTable(self._tables).in_force([model_id], now_us):
            return []
        stored = sorted(self._tables.services.items())
        unpriced = [key for key, one in stored if StopReason.NO_PRICE in one.told_stop_reasons]
        return [key for key in unpriced if self._tables.services[key].model_id == model_id][:limit]

    async def claim_trial(self, account_id: str, model_id: str, service_id: str, now_us: int) -> str:  # noqa: ARG002
        return self._tables.trial_owners.setdefault((account_id, model_id), service_id)


class ReservationTable:
    """Reservations of each service. None is cancelled."""

    def __init__(self, tables: Tables) -> None:
        self._bought = tables.reservations

    async def add(self, reservation: Reservation) -> None:
        self._bought.setdefault((reservation.account_id, reservation.service_id), []).append(reservation)

    async def active(self, account_id: str, service_ids: Sequence[str], now_us: int) -> dict[str, list[Reservation]]:
        of_each = {one: active_of(self._bought, (account_id, one), now_us) for one in service_ids}
        return {service_id: active for service_id, active in of_each.items() if active}

    async def page(self, account_id: str, service_id: str, after: int, limit: int) -> list[Reservation]:
        bought = self._bought.get((account_id, service_id), [])
        return [one for one in bought if one.reservation_number > after][:limit]


class BucketTable:
    """Rate buckets, one at a time."""

    def __init__(self, tables: Tables) -> None:
        self._buckets = tables.buckets

    async def find(self, account_id: str, service_uid: str, kind: PotKind) -> Bucket | None:
        return self._buckets.get(PotKey(account_id, service_uid, kind))

    async def put(self, account_id: str, service_uid: str, kind: PotKind, bucket: Bucket) -> None:
        self._buckets[PotKey(account_id, service_uid, kind)] = bucket


class BatchTable:
    """Accounts, services and buckets, many at a time."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def lock_accounts(self, account_ids: Collection[str]) -> dict[str, Account]:
        stored = self._tables.accounts
        return {account_id: stored[account_id] for account_id in account_ids if account_id in stored}

    accounts = lock_accounts

    async def services(self, keys: Collection[tuple[str, str]]) -> list[Service]:
        places = self._tables.service_keys
        return [self._tables.services[places[key]] for key in keys if key in places]

    async def reservations(self, services: Collection[Service], now_us: int) -> dict[str, list[Reservation]]:
        return {
            service.uid: active
            for service in services
            if (active := active_of(self._tables.reservations, (service.account_id, service.service_id), now_us))
        }

    async def buckets(self, keys: Collection[PotKey]) -> dict[PotKey, Bucket]:
        return {key: self._tables.buckets[key] for key in keys if key in self._tables.buckets}

    async def save_money(self, accounts: Collection[Account]) -> None:
        self._tables.accounts.update((account.account_id, account) for account in accounts)

    async def save_trials(self, services: Collection[Service]) -> None:
        self._tables.services.update(((one.account_id, one.service_id), one) for one in services)

    async def save_buckets(self, buckets: Mapping[PotKey, Bucket]) -> None:
        self._tables.buckets.update(buckets)

    async def add_usage(
        self, accounts: Mapping[str, Account], usage: Collection[Usage], now_us: int
    ) -> dict[str, Account]:
        minute, counted = now_us // MINUTE_US, dict(accounts)
        for spent in usage:
            if self._tables.usage_minutes.get(spent.service_uid) != minute:
                self._tables.usage_minutes[spent.service_uid] = minute
                account = counted[spent.account_id]
                counted[spent.account_id] = replace(account, ledger_entry_count=account.ledger_entry_count + 1)
        return counted


def active_of(
    bought: Mapping[tuple[str, str], Sequence[Reservation]], key: tuple[str, str], now_us: int
) -> list[Reservation]:
    """The reservations of a service, by its account and id, that pay at this moment."""
    return [one for one in bought.get(key, ()) if one.active(now_us)]
