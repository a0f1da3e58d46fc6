"""Rate rules as rows."""

from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.errors import ResourceExistsError
from control_service.domain.limit import LimitSubject, RateMetric, RateRule
from control_service.storage.limit_places import is_wanted, place_of, place_values
from control_service.storage.limit_schema import rate_rules as _rules
from control_service.usecases.limit_ports import LimitFilter, RateRules


class RateRuleRows(RateRules):
    """Rate rules as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, subject: LimitSubject, rule_id: str) -> RateRule | None:
        found = await self._connection.execute(select(_rules).where(_key(subject, rule_id)))
        row = found.mappings().one_or_none()
        return None if row is None else rate_rule_of(row)

    @override
    async def add(self, rule: RateRule) -> None:
        try:
            await self._connection.execute(insert(_rules).values(_values(rule)))
        except IntegrityError as error:
            raise ResourceExistsError(rule.name) from error

    @override
    async def save(self, rule: RateRule) -> None:
        key = _key(rule.place.subject, rule.rule_id)
        await self._connection.execute(update(_rules).where(key).values(_values(rule)))

    @override
    async def page(self, wanted: LimitFilter, after: str, limit: int) -> list[RateRule]:
        query = select(_rules).where(
            is_wanted(_rules, wanted), _rules.c.of_model_id == wanted.subject.model_id, _rules.c.rule_id > after
        )
        rows = await self._connection.execute(query.order_by(_rules.c.rule_id).limit(limit))
        return [rate_rule_of(row) for row in rows.mappings()]


def rate_rule_of(row: RowMapping) -> RateRule:
    """The rule in a row."""
    return RateRule(
        rule_id=row["rule_id"],
        uid=row["uid"],
        place=place_of(row),
        metric=RateMetric(row["metric"]),
        limit_units=row["limit_units"],
        period_us=row["period_us"],
        burst_units=row["burst_units"],
        model_id=row["model_id"],
        dry_run=row["dry_run"],
        create_us=row["create_us"],
        update_us=row["update_us"],
        delete_us=row["delete_us"],
    )


def _values(rule: RateRule) -> dict[str, Any]:
    return place_values(rule.place) | {
        "of_model_id": rule.place.subject.model_id,
        "rule_id": rule.rule_id,
        "uid": rule.uid,
        "metric": rule.metric,
        "limit_units": rule.limit_units,
        "period_us": rule.period_us,
        "burst_units": rule.burst_units,
        "model_id": rule.model_id,
        "dry_run": rule.dry_run,
        "create_us": rule.create_us,
        "update_us": rule.update_us,
        "delete_us": rule.delete_us,
    }


def _key(subject: LimitSubject, rule_id: str) -> ColumnElement[bool]:
    return and_(
        _rules.c.account_id == subject.account_id,
        _rules.c.of_model_id == subject.model_id,
        _rules.c.rule_id == rule_id,
    )
