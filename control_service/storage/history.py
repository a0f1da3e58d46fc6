"""Rows that are written once and never changed: events of services, and responses by idempotency key."""

from dataclasses import asdict

from sqlalchemy import RowMapping, delete, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.actor import Actor
from control_service.domain.event import EventCause, Origin, ServiceEvent
from control_service.domain.status import Status, StopReason
from control_service.storage import schema
from control_service.storage.services import pack, unpack
from control_service.usecases.ports import Events, ResponseKey, StoredResponse, StoredResponses

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
            "actor": event.origin.actor.name,
            "actor_note": event.origin.actor.note,
            "old_stop_reasons": pack(event.old_stop_reasons),
            "new_stop_reasons": pack(event.new_stop_reasons),
        }
        await self._connection.execute(insert(_events).values(values))

    @override
    async def delete(self, before_us: int, limit: int) -> int:
        names = tuple(_events.primary_key)
        old = select(*names).where(_events.c.event_us < before_us).order_by(_events.c.event_us).limit(limit)
        return (await self._connection.execute(delete(_events).where(tuple_(*names).in_(old)))).rowcount

    @override
    async def page(
        self, account_id: str, service_id: str, after: int, limit: int, *, newest_first: bool = False
    ) -> list[ServiceEvent]:
        number = _events.c.event_number
        behind = number < after if newest_first else number > after
        query = select(_events).where(_events.c.account_id == account_id, _events.c.service_id == service_id, behind)
        rows = await self._connection.execute(query.order_by(number.desc() if newest_first else number).limit(limit))
        return [_event(row) for row in rows.mappings()]


class StoredResponseRows(StoredResponses):
    """Stored responses as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, key: ResponseKey) -> StoredResponse | None:
        names = (_keys.c[name] == value for name, value in asdict(key).items())
        query = select(_keys.c.request_hash, _keys.c.response).where(*names)
        row = (await self._connection.execute(query)).mappings().one_or_none()
        return None if row is None else StoredResponse(**row)

    @override
    async def keep(self, key: ResponseKey, response: StoredResponse, now_us: int) -> None:
        values = asdict(key) | asdict(response) | {"create_us": now_us}
        await self._connection.execute(insert(_keys).values(values))

    @override
    async def delete(self, before_us: int, limit: int) -> int:
        names = tuple(_keys.primary_key)
        old = select(*names).where(_keys.c.create_us < before_us).order_by(_keys.c.create_us).limit(limit)
        return (await self._connection.execute(delete(_keys).where(tuple_(*names).in_(old)))).rowcount


def _event(row: RowMapping) -> ServiceEvent:
    values = dict(row)
    actor = Actor(values.pop("actor"), values.pop("actor_note"))
    origin = Origin(EventCause(values.pop("cause")), actor, values.pop("event_us"))
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
