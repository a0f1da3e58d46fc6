"""Webhooks as rows."""

from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.alert import AlertKind
from control_service.domain.errors import ResourceExistsError
from control_service.domain.webhook import Webhook
from control_service.storage import alert_schema
from control_service.storage.services import pack, unpack
from control_service.usecases.alert_ports import Webhooks

_webhooks: Final = alert_schema.webhooks
_deliveries: Final = alert_schema.deliveries


class WebhookRows(Webhooks):
    """Webhooks as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, account_id: str, webhook_id: str) -> Webhook | None:
        found = await self._read(select(_webhooks).where(_key(account_id, webhook_id)))
        return found[0] if found else None

    @override
    async def with_uid(self, uid: str) -> Webhook | None:
        found = await self._read(select(_webhooks).where(_webhooks.c.uid == uid))
        return found[0] if found else None

    @override
    async def of_account(self, account_id: str) -> list[Webhook]:
        query = select(_webhooks).where(_webhooks.c.account_id == account_id)
        return await self._read(query.order_by(_webhooks.c.webhook_id))

    @override
    async def add(self, webhook: Webhook) -> None:
        try:
            await self._connection.execute(insert(_webhooks).values(_values(webhook)))
        except IntegrityError as error:
            message = f"There is a {webhook.name} already; change that one, or take another name."
            raise ResourceExistsError(webhook.name, message) from error

    @override
    async def save(self, webhook: Webhook) -> None:
        key = _key(webhook.account_id, webhook.webhook_id)
        await self._connection.execute(update(_webhooks).where(key).values(_values(webhook)))

    @override
    async def delete(self, webhook: Webhook) -> None:
        await self._connection.execute(delete(_deliveries).where(_deliveries.c.webhook_uid == webhook.uid))
        await self._connection.execute(delete(_webhooks).where(_key(webhook.account_id, webhook.webhook_id)))

    async def _read(self, query: Select[Any]) -> list[Webhook]:
        return [_webhook(row) for row in (await self._connection.execute(query)).mappings()]


def _key(account_id: str, webhook_id: str) -> ColumnElement[bool]:
    return and_(_webhooks.c.account_id == account_id, _webhooks.c.webhook_id == webhook_id)


def _values(webhook: Webhook) -> dict[str, object]:
    return asdict(webhook) | {"kinds": pack(webhook.kinds)}


def _webhook(row: RowMapping) -> Webhook:
    return Webhook(**dict(row) | {"kinds": unpack(AlertKind, row["kinds"])})
