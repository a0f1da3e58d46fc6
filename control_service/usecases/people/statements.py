"""Statements of accounts by month."""

from control_service.domain.errors import InvalidRequestError
from control_service.domain.limit import BudgetPeriod
from control_service.domain.period import Period, month_of, period_at, text_of_month
from control_service.domain.statement import LINES_MAX, Statement, StatementQuery
from control_service.domain.time_zone import UnknownTimeZoneError
from control_service.usecases.ports import Transaction


async def statement_of(tx: Transaction, query: StatementQuery, now_us: int) -> Statement:
    """The statement of a month, or of as much of it as is over. All of it is read as of one moment.

    Raises:
        ResourceNotFoundError: there is no such account.
        InvalidRequestError: there is no such time zone, the month has not begun, or there are too many lines.
    """
    account = await tx.accounts.get(query.account_id)
    period = _period(query, now_us)
    assert period.end_us is not None
    lines = await tx.ledger.sums(query, period, LINES_MAX + 1)
    if len(lines) > LINES_MAX:
        raise InvalidRequestError(
            [("grouping", f"gives more than {LINES_MAX:,} lines: add them up by model or by team")]
        )
    closing_nanos = None
    if query.scope.whole:
        closing_nanos = account.balance_nanos - await tx.ledger.total_since(query.account_id, period.end_us)
    return Statement(
        account=account,
        period=period,
        month=text_of_month(query.time_zone, period),
        time_zone=query.time_zone,
        as_of_us=min(period.end_us, now_us),
        lines=tuple(lines),
        closing_nanos=closing_nanos,
    )


def _period(query: StatementQuery, now_us: int) -> Period:
    try:
        running = period_at(BudgetPeriod.MONTH, query.time_zone, now_us)
    except UnknownTimeZoneError as error:
        what = "must be a time zone of the IANA, such as UTC or Europe/Berlin"
        raise InvalidRequestError([("time_zone", what)]) from error
    if query.month is None:
        return running
    # Before it is looked up: the last month of all years that there are has no end.
    if "{:04}-{:02}".format(*query.month) > text_of_month(query.time_zone, running):
        raise InvalidRequestError([("month", "has not begun yet; take one that has")])
    return month_of(query.time_zone, *query.month)
