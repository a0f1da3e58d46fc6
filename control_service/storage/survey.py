"""The survey: counts and sums over whole tables, for those who watch the service, and nothing of any one account."""

from typing import Final

from sqlalchemy import Double, cast, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from control_service.domain.pot import PotKind
from control_service.storage import alert_schema, schema
from control_service.storage.limit_schema import budgets as _budgets
from control_service.usecases.survey_ports import MoneySums, Survey

CURRENCIES_MAX: Final = 20
"""Maximum number of currencies with sums of their own: those of most accounts."""
_TENTH: Final = 10

_accounts = schema.accounts
_services = schema.services
_pots = schema.limit_pots
_due_us = alert_schema.deliveries.c.next_attempt_us

_BY_STATUS: Final = (
    select(_services.c.told_status, func.count())
    .where(_services.c.delete_us.is_(None))
    .group_by(_services.c.told_status)
)
_TRIALS_LOW: Final = select(func.count()).where(
    _services.c.delete_us.is_(None),
    # Without a product, which might be too large a number.
    _services.c.trial_quota_tokens - _services.c.trial_spent_tokens < _services.c.trial_quota_tokens // _TENTH,
)
_OF_BUDGET: Final = exists().where(
    _budgets.c.account_id == _pots.c.account_id, _budgets.c.uid == _pots.c.limit_uid, _budgets.c.delete_us.is_(None)
)
"""Whether a pot's budget is there: the pot of one that is deleted stays for a while."""
_DELIVERIES: Final = select(func.count()).where(_due_us.is_not(None))
_MONEY: Final = (
    select(
        _accounts.c.currency_code,
        func.count(),
        func.count(_accounts.c.overdue_us),
        func.count(_accounts.c.told_left_nanos),
        # SQLite has no integers for sums beyond nine thousand million units of a currency.
        *(
            func.sum(cast(column, Double))
            for column in (
                _accounts.c.funds_nanos,
                _accounts.c.spent_nanos,
                _accounts.c.leased_nanos,
                _accounts.c.credit_limit_nanos,
            )
        ),
    )
    .group_by(_accounts.c.currency_code)
    .order_by(func.count().desc(), _accounts.c.currency_code)
)


async def survey(connection: AsyncConnection, now_us: int) -> Survey:
    """What there is at this moment."""
    budgets_low = (
        select(_pots.c.kind, func.count())
        .where(
            or_(_pots.c.end_us.is_(None), _pots.c.end_us > now_us),
            _pots.c.capacity_units - _pots.c.spent_units < _pots.c.capacity_units // _TENTH,
            _OF_BUDGET,
        )
        .group_by(_pots.c.kind)
    )
    by_status = {str(status): int(count) for status, count in await connection.execute(_BY_STATUS)}
    trials_low = await connection.scalar(_TRIALS_LOW) or 0
    low = {str(kind): int(count) for kind, count in await connection.execute(budgets_low)}
    by_currency = (await connection.execute(_MONEY)).all()
    return Survey(
        services=by_status,
        pots_low={PotKind.TRIAL.value: trials_low, **low},
        account_count=sum(row[1] for row in by_currency),
        accounts_overdue=sum(row[2] for row in by_currency),
        accounts_at_threshold=sum(row[3] for row in by_currency),
        deliveries_waiting=await connection.scalar(_DELIVERIES) or 0,
        money={row[0]: MoneySums(*map(float, row[4:])) for row in by_currency[:CURRENCIES_MAX]},
    )
