"""The audit as a whole: accounts one after the other, then services, each in transactions of its own."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from books_audit.account_books import PAGE, judge, read_books
from books_audit.findings import Finding
from books_audit.metering_books import audit_service, service_names
from books_audit.settlement import audit_settlement
from control_service.storage.transaction import SqlTransaction
from tallygate._server.clock import Clock
from tallygate._server.database.engine import read_only

ATTEMPTS = 3
"""Number of times that books are read which do not add up, or which move while they are read."""
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """What was looked at: an account or a service, and what was found there."""

    subject: str
    findings: tuple[Finding, ...] = ()


class Audit:
    """Of one pair of databases. `account_id`: of this account only."""

    def __init__(self, control: AsyncEngine, metering: AsyncEngine, clock: Clock, account_id: str = "") -> None:
        self._control = control
        self._metering = metering
        self._clock = clock
        self._account_id = account_id

    async def run(self) -> AsyncIterator[Step]:
        """Looks at everything once. Raises ResourceNotFoundError where the account is not there."""
        async for account_id in self._accounts():
            yield Step(f"accounts/{account_id}", tuple(await self._twice(account_id)))
        async for name in service_names(self._metering):
            if not self._account_id or name.startswith(f"accounts/{self._account_id}/"):
                yield Step(name, tuple(await self._service(name)))

    async def _accounts(self) -> AsyncIterator[str]:
        if self._account_id:
            yield self._account_id
            return
        last = ""
        while True:
            async with read_only(self._control) as connection:
                page = await SqlTransaction(connection).accounts.page(last, PAGE)
            for account in page:
                yield account.account_id
            if len(page) < PAGE:
                return
            last = page[-1].account_id

    async def _twice(self, account_id: str) -> list[Finding]:
        """What is found again: time may have made a status due, and the two databases may be copies that lag."""
        found = await self._account(account_id)
        for _ in range(ATTEMPTS - 1):
            if not found:
                break
            await asyncio.sleep(RETRY_S)
            again = await self._account(account_id)
            subjects = {(each.rule, each.subject) for each in found}
            found = [each for each in again if (each.rule, each.subject) in subjects]
        return found

    async def _account(self, account_id: str) -> list[Finding]:
        now_us = self._clock.now_us()
        books = await read_books(self._control, account_id, now_us)
        return [*judge(books, now_us), *await audit_settlement(self._metering, books, now_us)]

    async def _service(self, name: str) -> list[Finding]:
        """What does not add up. The hour of a service that is always in use is judged by a later run."""
        for _ in range(ATTEMPTS):
            found, is_complete = await audit_service(self._metering, name, self._clock.now_us())
            if found or is_complete:
                return found
            await asyncio.sleep(RETRY_S)
        return []
