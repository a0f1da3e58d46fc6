"""Rows that are written once and never changed: events of services, and responses by idempotency key."""

from dataclasses import asdict

from sqlalchemy import RowMapping, delete, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.event import EventCause, Origin, ServiceEvent
from control_service.domain.status import Status, StopReason
from control_service.storage import schema
from control_service.storage.services import pack, unpack
from control_service.usecases.ports import Events, StoredResponse, StoredResponses

_events = schema.service_events
_keys = schema.idempotency_keys


class EventRows(Events):
    """Events of services as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def add(self, event: ServiceEvent) -> None:
        values = asdict(event)
        del values["origin"]
        values |= {
            "event_us": event.origin.at_us,
            "cause": event.origin.cause,
            "actor": event.origin.actor,
            "old_stop_reasons": pack(event.old_stop_reasons),
            "new_stop_reasons": pack(event.new_stop_reasons),
        }
        await self._connection.execute(insert(_events).values(values))

    @override
    async def page(self, account_id: str, service_id: str, after: int, limit: int) -> list[ServiceEvent]:
        number = _events.c.event_number
        query = select(_events).where(
            _events.c.account_id == account_id, _events.c.service_id == service_id, number > after
        )
        rows = await self._connection.execute(query.order_by(number).limit(limit))
        return [_event(row) for row in rows.mappings()]


class StoredResponseRows(StoredResponses):
    """Stored responses as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, scope: str, method: str, key: str) -> StoredResponse | None:
        query = select(_keys.c.request_hash, _keys.c.response).where(
            _keys.c.scope == scope, _keys.c.method == method, _keys.c.idempotency_key == key
        )
        row = (await self._connection.execute(query)).mappings().one_or_none()
        return None if row is None else StoredResponse(**row)

    @override
    async def keep(self, scope: str, method: str, key: str, response: StoredResponse, now_us: int) -> None:
        names = {"scope": scope, "method": method, "idempotency_key": key, "create_us": now_us}
        await self._connection.execute(insert(_keys).values(names | asdict(response)))

    @override
    async def delete(self, before_us: int, limit: int) -> int:
        names = (_keys.c.scope, _keys.c.method, _keys.c.idempotency_key)
        old = select(*names).where(_keys.c.create_us < before_us).order_by(_keys.c.create_us).limit(limit)
        return (await self._connection.execute(delete(_keys).where(tuple_(*names).in_(old)))).rowcount


def _event(row: RowMapping) -> ServiceEvent:
    values = dict(row)
    origin = Origin(EventCause(values.pop("cause")), values.pop("actor"), values.pop("event_us"))
    return ServiceEvent(
        **values
        | {
            "origin": origin,
            "old_status": Status(values["old_status"]),
            "new_status": Status(values["new_status"]),
            "old_stop_reasons": unpack(StopReason, values["old_stop_reasons"]),
            "new_stop_reasons": unpack(StopReason, values["new_stop_reasons"]),
        }
    )
