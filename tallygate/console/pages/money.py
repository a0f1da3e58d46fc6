"""Money of an account: its balance, what is on lease, its ledger; and what operators pay in or correct."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import grpc
from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate._wire.amounts import units_text
from tallygate.console.calls import CallError
from tallygate.console.nav import Entry
from tallygate.console.reads import read_account
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import account_service_pb2 as pb
from tallygate.control.v1.account_service_pb2_grpc import AccountServiceStub

PAGE_SIZE: Final = 50
"""Maximum number of ledger lines on a page."""
FORECAST_S: Final = 30
"""Number of seconds for which a forecast is not read again."""
_MONEY: Final = "/accounts/{account}/money"


async def show_money(visit: Visit) -> Response:
    """The account as it is now, and a page of its ledger, the newest lines first."""
    service = visit.query("service")
    request = pb.ListLedgerEntriesRequest(
        account=visit.account,
        inference_service=f"{visit.account}/services/{service}" if service else "",
        page_size=PAGE_SIZE,
        page_token=visit.query("page"),
        newest_first=True,
    )
    stub = AccountServiceStub(visit.control)
    account, answer, forecast = await asyncio.gather(
        read_account(visit),
        stub.ListLedgerEntries(request),
        visit.lately("forecast", FORECAST_S, partial(_forecast, visit)),
    )
    return visit.page(
        "money.html",
        account=account,
        forecast=forecast,
        lines=answer.ledger_entries,
        next_page=answer.next_page_token,
        may_change=visit.may(Permission.ACCOUNTS_UPDATE),
        may_pay=visit.may(Permission.ACCOUNTS_ADMINISTER),
        may_read_statement=visit.may(Permission.USAGE_READ),
    )


async def _forecast(visit: Visit) -> pb.ForecastAccountResponse | None:
    """How long the money lasts; None of a service that is too old to say."""
    request = pb.ForecastAccountRequest(name=visit.account)
    try:
        found: pb.ForecastAccountResponse = await AccountServiceStub(visit.control).ForecastAccount(request)
    except CallError as error:
        if error.code != grpc.StatusCode.UNIMPLEMENTED:
            raise
        return None
    return found


async def show_top_up(visit: Visit) -> Response:
    """What paying money in does."""
    return visit.page("top_up.html", account=await read_account(visit))


async def top_up(visit: Visit) -> Response:
    """Pay money in."""
    request = pb.TopUpAccountRequest(
        name=visit.account,
        amount_nanos=visit.form.nanos("amount_nanos") or 0,
        reason=visit.form.text("reason"),
        idempotency_key=visit.idempotency_key,
    )
    answer = await AccountServiceStub(visit.control).TopUpAccount(request)
    return _paid(visit, answer, "are paid in")


async def show_adjust(visit: Visit) -> Response:
    """What a correction does."""
    return visit.page("adjust.html", account=await read_account(visit))


async def adjust(visit: Visit) -> Response:
    """Refund or correct."""
    request = pb.AdjustAccountRequest(
        name=visit.account,
        amount_nanos=visit.form.nanos("amount_nanos") or 0,
        reason=visit.form.text("reason"),
        idempotency_key=visit.idempotency_key,
    )
    answer = await AccountServiceStub(visit.control).AdjustAccount(request)
    return _paid(visit, answer, "are added" if answer.ledger_entry.amount_nanos > 0 else "are taken away")


def _paid(visit: Visit, answer: pb.TopUpAccountResponse | pb.AdjustAccountResponse, what: str) -> Response:
    amount = units_text(abs(answer.ledger_entry.amount_nanos))
    return visit.done(f"{amount} {answer.account.currency_code} {what}.", f"/{visit.account}/money")


NAV: Final = (Entry("Money", _MONEY, Permission.ACCOUNTS_READ),)
ROUTES: Final = (
    at(_MONEY, show_money),
    at(f"{_MONEY}/top-up", show_top_up, top_up),
    at(f"{_MONEY}/adjust", show_adjust, adjust),
)
