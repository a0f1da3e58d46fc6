"""The currency of an account, for whoever sees any of its money."""

from __future__ import annotations

from typing import Final

from tallygate._access.permission import Permission
from tallygate.console.visit import Visit
from tallygate.control.v1 import account_service_pb2
from tallygate.control.v1.account_service_pb2_grpc import AccountServiceStub

CURRENCY_S: Final = 600
"""Number of seconds for which an account's currency, which never changes, is not read again."""


async def currency_of(visit: Visit) -> str:
    """The ISO 4217 code of the account's currency. Raises CallError."""
    return await visit.lately("currency", CURRENCY_S, lambda: _read(visit))


async def _read(visit: Visit) -> str:
    """As the account says it; who sees only teams learns it from their part of the statement."""
    stub = AccountServiceStub(visit.control)
    if visit.may(Permission.ACCOUNTS_READ):
        return (await stub.GetAccount(account_service_pb2.GetAccountRequest(name=visit.account))).account.currency_code
    statement = await stub.GetStatement(account_service_pb2.GetStatementRequest(account=visit.account))
    return statement.statement.currency_code
