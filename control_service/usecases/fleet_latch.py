"""ACTIVATING ends, once and for all, when every live node has acknowledged the activation."""

from __future__ import annotations

from dataclasses import replace

from control_service.domain.event import EventCause, Origin
from control_service.domain.node import acknowledged_by_all
from control_service.usecases.ports import Transaction
from control_service.usecases.standing import SYSTEM, catch_up, restand


async def awaiting_fleet(tx: Transaction, now_us: int) -> list[tuple[str, str]]:
    """Services, as (account id, service id), whose activation every live node has acknowledged; none without nodes."""
    version = acknowledged_by_all(await tx.nodes.live(now_us), now_us)
    return [] if version is None else await tx.configs.awaiting_fleet(version)


async def latch(tx: Transaction, now_us: int, only: tuple[str, str] | None = None) -> bool:
    """Latches them, or only this one of them; whether there were any."""
    keys = [key for key in await awaiting_fleet(tx, now_us) if only in (None, key)]
    accounts = await tx.books.lock_accounts({account_id for account_id, _ in keys}) if keys else {}
    for account_id, service_id in keys:
        # Found again under the account's lock: another process may have been here first.
        service = await tx.services.find(account_id, service_id)
        if service is None or service.fleet_told:
            continue
        account = accounts[account_id]
        service = await catch_up(tx, account, service, now_us)
        told = replace(service, fleet_told=True)
        await restand(tx, account, told, Origin(EventCause.FLEET_ACKNOWLEDGED, SYSTEM, now_us))
    return bool(keys)
