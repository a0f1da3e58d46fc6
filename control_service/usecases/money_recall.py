"""Recalls of an account's money: what a change needs, or bounds, may be on lease and come back in a moment."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from control_service.domain.account import Account
from control_service.domain.pot import PotKey, PotKind
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.ports import Database
from tallygate._server.clock import Clock

WAIT_MAX_S: Final = 1.0
"""Maximum wait for money that is on lease, before a change is decided on without it."""
QUERY_INTERVAL_S: Final = 0.1
"""Interval at which it is looked for whether nodes that other replicas answer have given any back."""


class MoneyOnLeaseError(Exception):
    """A change is to be decided on once this much more of an account's money is back from lease."""

    def __init__(self, missing_nanos: int) -> None:
        super().__init__(missing_nanos)
        self.missing_nanos = missing_nanos


def require_recalled(account: Account, least_available_nanos: int) -> None:
    """Raises MoneyOnLeaseError where the account has less available, and some of its money is on lease."""
    missing_nanos = least_available_nanos - account.available_nanos
    if missing_nanos > 0 and account.leased_nanos > 0:
        raise MoneyOnLeaseError(min(missing_nanos, account.leased_nanos))


async def recall_money(
    database: Database, clock: Clock, signal: ChangeSignal, account_id: str, missing_nanos: int
) -> None:
    """Recalls what leases have free of an account's money, and waits until so much is back, for `WAIT_MAX_S` at most.

    Raises StorageUnavailableError.
    """
    pot = PotKey.of(account_id, "", PotKind.MONEY)
    async with database.writing() as tx:
        account = await tx.accounts.lock(account_id)
        free = await tx.leases.with_free_units([pot])
        fresh = {(account_id, lease.lease_id) for lease in free if lease.recall_requested_us is None}
        if fresh:
            await tx.leases.recall(fresh, clock.now_us())
    if not free:
        return
    enough_nanos = account.leased_nanos - missing_nanos
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + WAIT_MAX_S
    with signal.listening() as changes:
        signal.announce()
        while loop.time() < deadline_s and not await _is_back(database, pot, enough_nanos):
            # No transaction is cancelled half-way.
            with suppress(TimeoutError):
                async with asyncio.timeout(QUERY_INTERVAL_S):
                    while pot not in await changes.wait():
                        continue


async def _is_back(database: Database, pot: PotKey, leased_nanos_max: int) -> bool:
    """Whether no more than this is on lease, or no lease has anything free any more."""
    async with database.reading() as tx:
        account = await tx.accounts.get(pot.account)
        return account.leased_nanos <= leased_nanos_max or not await tx.leases.with_free_units([pot])
