"""The currency of an account, for whoever sees any of its money."""

from __future__ import annotations

from tallygate._access.permission import Permission
from tallygate.console.visit import Visit
from tallygate.control.v1 import account_service_pb2
from tallygate.control.v1.account_service_pb2_grpc import AccountServiceStub


async def currency_of(visit: Visit) -> str:
    """The ISO 4217 code of the account's currency. Who sees only teams learns it from their part of the statement."""
    stub = AccountServiceStub(visit.control)
    if visit.may(Permission.ACCOUNTS_READ):
        return (await stub.GetAccount(account_service_pb2.GetAccountRequest(name=visit.account))).account.currency_code
    statement = await stub.GetStatement(account_service_pb2.GetStatementRequest(account=visit.account))
    return statement.statement.currency_code
