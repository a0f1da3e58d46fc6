"""Lookup of configurations: what the names that nodes subscribe to are now."""

from __future__ import annotations

from collections.abc import Collection

from control_service.domain.default_service import default_service
from control_service.domain.names import MalformedNameError, model_of_default, parse_service
from control_service.domain.payers import Resolution, ServiceConfig, config_of
from control_service.domain.reservation import reserved
from control_service.domain.service import Service
from control_service.usecases.fleet_ports import Subjects
from control_service.usecases.ports import Transaction


async def lookup_configs(tx: Transaction, names: Collection[str], *, version: int, now_us: int) -> list[ServiceConfig]:
    """The configurations of these names, in their order, as of `version`. Malformed names are UNKNOWN."""
    keys = {name: _key(name) for name in names}
    subjects = await tx.configs.subjects({key for key in keys.values() if key is not None}, now_us)
    return [_config(name, key, subjects, version, now_us) for name, key in keys.items()]


def is_default_name(name: str) -> bool:
    """Whether this is the name of a default service, whether or not its account and model exist."""
    key = _key(name)
    return key is not None and model_of_default(key[1]) is not None


def _key(name: str) -> tuple[str, str] | None:
    try:
        return parse_service(name)
    except MalformedNameError:
        return None


def _config(name: str, key: tuple[str, str] | None, subjects: Subjects, version: int, now_us: int) -> ServiceConfig:
    service = _service(key, subjects) if key is not None else None
    if service is None:
        return ServiceConfig(name, version, Resolution.UNKNOWN)
    in_force = reserved(subjects.reservations.get(service.uid, ()), now_us)
    account, model = subjects.accounts[service.account_id], subjects.models[service.model_id]
    price = subjects.prices.get(service.model_id)
    return config_of(service, account, in_force, price, model, version=version, now_us=now_us)


def _service(key: tuple[str, str], subjects: Subjects) -> Service | None:
    """The stored service, or the default one that every account has for every model."""
    stored = subjects.services.get(key)
    if stored is not None:
        return stored
    account, model = subjects.accounts.get(key[0]), subjects.models.get(model_of_default(key[1]) or "")
    return default_service(account, model) if account is not None and model is not None else None
