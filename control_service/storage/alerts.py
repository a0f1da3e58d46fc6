"""Alerts as rows."""

import json
from typing import Final

from sqlalchemy import RowMapping, delete, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.alert import Alert, AlertContent, AlertKind
from control_service.storage import alert_schema
from control_service.usecases.alert_ports import AlertFilter, Alerts
from tallygate._server.database.upsert import dialect_insert

_alerts: Final = alert_schema.alerts
_counts: Final = alert_schema.alert_counts


class AlertRows(Alerts):
    """Alerts as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def add(self, account_id: str, content: AlertContent, now_us: int) -> Alert:
        first = dialect_insert(self._connection.dialect, _counts).values(account_id=account_id, alert_count=1)
        counted = first.on_conflict_do_update(
            index_elements=["account_id"], set_={"alert_count": _counts.c.alert_count + 1}
        ).returning(_counts.c.alert_count)
        number = int((await self._connection.execute(counted)).scalar_one())
        row = {
            "account_id": account_id,
            "alert_number": number,
            "kind": content.kind,
            "resource": content.resource,
            "figures": json.dumps(dict(content.figures), sort_keys=True),
            "words": json.dumps(dict(content.words), sort_keys=True),
            "create_us": now_us,
        }
        await self._connection.execute(insert(_alerts).values(row))
        return Alert(account_id, number, content, now_us)

    @override
    async def find(self, account_id: str, number: int) -> Alert | None:
        query = select(_alerts).where(_alerts.c.account_id == account_id, _alerts.c.alert_number == number)
        row = (await self._connection.execute(query)).mappings().one_or_none()
        return None if row is None else _alert(row)

    @override
    async def page(self, wanted: AlertFilter, before: int, limit: int) -> list[Alert]:
        number = _alerts.c.alert_number
        query = select(_alerts).where(_alerts.c.account_id == wanted.account_id, number < before)
        if wanted.kinds:
            query = query.where(_alerts.c.kind.in_(sorted(wanted.kinds)))
        if wanted.start_us is not None:
            query = query.where(_alerts.c.create_us >= wanted.start_us)
        if wanted.end_us is not None:
            query = query.where(_alerts.c.create_us < wanted.end_us)
        rows = await self._connection.execute(query.order_by(number.desc()).limit(limit))
        return [_alert(row) for row in rows.mappings()]

    @override
    async def since(self, account_id: str, number: int, start_us: int, limit: int) -> list[Alert]:
        query = select(_alerts).where(
            _alerts.c.account_id == account_id, _alerts.c.alert_number >= number, _alerts.c.create_us >= start_us
        )
        rows = await self._connection.execute(query.order_by(_alerts.c.alert_number).limit(limit))
        return [_alert(row) for row in rows.mappings()]

    @override
    async def delete(self, before_us: int, limit: int) -> int:
        key = (_alerts.c.account_id, _alerts.c.alert_number)
        old = select(*key).where(_alerts.c.create_us < before_us).order_by(_alerts.c.create_us).limit(limit)
        return (await self._connection.execute(delete(_alerts).where(tuple_(*key).in_(old)))).rowcount


def _alert(row: RowMapping) -> Alert:
    content = AlertContent(
        AlertKind(row["kind"]), row["resource"], json.loads(row["figures"]), json.loads(row["words"])
    )
    return Alert(row["account_id"], row["alert_number"], content, row["create_us"])
