"""Statements: what a month did to an account's money, as a page that prints well and as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Final, cast

import grpc
from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate._wire.amounts import units_text
from tallygate.console import show
from tallygate.console.calls import CallError
from tallygate.console.nav import Entry
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import account_service_pb2 as pb
from tallygate.control.v1.account_service_pb2_grpc import AccountServiceStub
from tallygate.control.v1.statement_pb2 import Statement, StatementGrouping

GROUPINGS: Final = (("SERVICE", "service"), ("MODEL", "model"), ("TEAM", "team"))
"""Groups that lines are added up by: names of the contract, and words."""
TOTALS: Final = (
    ("opening balance", "opening_balance_nanos"),
    ("top-ups", "top_up_nanos"),
    ("credits", "credit_nanos"),
    ("debits", "debit_nanos"),
    ("reservations", "reservation_nanos"),
    ("usage", "usage_nanos"),
    ("closing balance", "closing_balance_nanos"),
)
"""Lines above the line, in the order in which they add up: words, and fields of the contract."""
_OF_ALL: Final = ("reservation_nanos", "usage_nanos")
_COLUMNS: Final = ("kind", "service", "model", "team", "ledger_lines", "amount", "amount_nanos", "currency")


async def show_statement(visit: Visit) -> Response:
    """The statement of the month that is asked for; the one that runs, if none is."""
    statement = await _statement(visit)
    totals = _totals(statement) if statement else ()
    file = f"/{visit.account}/statements.csv?{visit.with_query().partition('?')[2]}"
    return visit.page("statement.html", statement=statement, totals=totals, groupings=GROUPINGS, file=file)


async def download(visit: Visit) -> Response:
    """The same as a file: what is above the closing balance adds up to it."""
    statement = await _statement(visit)
    if statement is None:
        return visit.page("statement.html", statement=None, totals=(), groupings=GROUPINGS, file="")
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(_rows(statement))
    headers = {
        "content-disposition": f'attachment; filename="statement-{visit.account_id}-{statement.month}.csv"',
    }
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


async def _statement(visit: Visit) -> Statement | None:
    """The statement; None where what was asked for is refused, which the page says. Raises CallError."""
    named = StatementGrouping.DESCRIPTOR.values_by_name.get(f"STATEMENT_GROUPING_{visit.query('by')}")
    request = pb.GetStatementRequest(
        account=visit.account,
        month=visit.query("month"),
        time_zone=visit.query("time_zone"),
        grouping=cast("StatementGrouping.ValueType", named.number if named else 0),
    )
    try:
        statement: Statement = (await AccountServiceStub(visit.control).GetStatement(request)).statement
    except CallError as error:
        if error.code != grpc.StatusCode.INVALID_ARGUMENT:
            raise
        visit.refuse(error)
        visit.status = HTTPStatus.BAD_REQUEST
        return None
    return statement


def _totals(statement: Statement) -> list[tuple[str, int]]:
    """What adds up; without balances and payments for who may not see these."""
    sees_balance = statement.HasField("closing_balance_nanos")
    return [(words, getattr(statement, field)) for words, field in TOTALS if sees_balance or field in _OF_ALL]


def _rows(statement: Statement) -> Iterator[Sequence[str | int]]:
    yield _COLUMNS
    above = [(words, nanos) for words, nanos in _totals(statement) if words not in ("reservations", "usage")]
    yield from (_total(statement, *one) for one in above if one[0] != "closing balance")
    for line in statement.lines:
        kind = show.enum_name(line, "kind").lower()
        names = (line.inference_service, line.model, line.team)
        amount = (units_text(line.amount_nanos), line.amount_nanos, statement.currency_code)
        yield (kind, *names, line.entry_count, *amount)
    yield from (_total(statement, *one) for one in above if one[0] == "closing balance")


def _total(statement: Statement, words: str, nanos: int) -> Sequence[str | int]:
    return (words, "", "", "", "", units_text(nanos), nanos, statement.currency_code)


NAV: Final[tuple[Entry, ...]] = (Entry("Statements", "/accounts/{account}/statements", Permission.USAGE_READ),)
ROUTES: Final = (
    at("/accounts/{account}/statements", show_statement),
    at("/accounts/{account}/statements.csv", download),
)
