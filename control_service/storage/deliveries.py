"""Deliveries as rows."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, and_, delete, exists, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.delivery import Delivery, DeliveryState, Problem
from control_service.storage import alert_schema
from control_service.usecases.alert_ports import Deliveries
from tallygate._server.database.upsert import upsert

_deliveries: Final = alert_schema.deliveries
_webhooks: Final = alert_schema.webhooks
_due_us: Final = _deliveries.c.next_attempt_us


class DeliveryRows(Deliveries):
    """Deliveries as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def put(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            await self._connection.execute(
                upsert(self._connection.dialect, _deliveries), [asdict(one) for one in deliveries]
            )

    @override
    async def page(self, webhook_uid: str, before: tuple[int, str], limit: int) -> list[Delivery]:
        moment = (_deliveries.c.create_us, _deliveries.c.message_id)
        query = select(_deliveries).where(_deliveries.c.webhook_uid == webhook_uid, tuple_(*moment) < tuple_(*before))
        return await self._read(query.order_by(*(column.desc() for column in moment)).limit(limit))

    @override
    async def due_webhooks(self, now_us: int, after_uid: str, limit: int) -> list[str]:
        # An idle look is one step in an index; webhooks are looked through only while something is due.
        first_us = (await self._connection.execute(select(func.min(_due_us)).where(_due_us.is_not(None)))).scalar()
        if first_us is None or first_us > now_us:
            return []
        uid = _webhooks.c.uid
        due = exists().where(_deliveries.c.webhook_uid == uid, _due_us.is_not(None), _due_us <= now_us)
        found = await self._connection.execute(select(uid).where(uid > after_uid, due).order_by(uid).limit(limit))
        return list(found.scalars())

    @override
    async def first_due(self, webhook_uid: str, now_us: int) -> Delivery | None:
        query = select(_deliveries).where(
            _deliveries.c.webhook_uid == webhook_uid, _due_us.is_not(None), _due_us <= now_us
        )
        found = await self._read(query.order_by(_due_us, _deliveries.c.alert_number).limit(1))
        return found[0] if found else None

    @override
    async def take(self, delivery: Delivery, now_us: int) -> Delivery | None:
        taken = delivery.taken(now_us)
        is_unchanged = and_(_attempt(delivery), _due_us == delivery.next_attempt_us)
        return taken if await self._change(is_unchanged, taken) else None

    @override
    async def finish(self, delivery: Delivery) -> bool:
        is_mine = and_(_attempt(delivery), _deliveries.c.state == DeliveryState.PENDING)
        return await self._change(is_mine, delivery)

    @override
    async def cancel(self, webhook_uid: str) -> None:
        ended = {"state": DeliveryState.CANCELLED, "next_attempt_us": None}
        pending = and_(_deliveries.c.webhook_uid == webhook_uid, _due_us.is_not(None))
        await self._connection.execute(update(_deliveries).where(pending).values(ended))

    @override
    async def delete(self, before_us: int, limit: int) -> int:
        key = tuple(_deliveries.primary_key)
        old = select(*key).where(_due_us.is_(None), _deliveries.c.create_us < before_us)
        old = old.order_by(_deliveries.c.create_us).limit(limit)
        return (await self._connection.execute(delete(_deliveries).where(tuple_(*key).in_(old)))).rowcount

    async def _change(self, condition: ColumnElement[bool], delivery: Delivery) -> bool:
        changed = await self._connection.execute(update(_deliveries).where(condition).values(asdict(delivery)))
        return changed.rowcount == 1

    async def _read(self, query: Select[Any]) -> list[Delivery]:
        return [_delivery(row) for row in (await self._connection.execute(query)).mappings()]


def _attempt(delivery: Delivery) -> ColumnElement[bool]:
    """This delivery, after as many attempts."""
    return and_(
        _deliveries.c.account_id == delivery.account_id,
        _deliveries.c.webhook_uid == delivery.webhook_uid,
        _deliveries.c.message_id == delivery.message_id,
        _deliveries.c.attempt_count == delivery.attempt_count,
    )


def _delivery(row: RowMapping) -> Delivery:
    return Delivery(**dict(row) | {"state": DeliveryState(row["state"]), "last_problem": Problem(row["last_problem"])})
