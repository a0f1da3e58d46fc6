"""Reservations and their rate buckets as rows."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import ColumnElement, RowMapping, and_, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.bucket import Bucket
from control_service.domain.pot import PotKind
from control_service.domain.reservation import OverflowPolicy, Reservation
from control_service.storage import schema
from control_service.usecases.ports import Buckets, Reservations

_reservations = schema.reservations
_buckets = schema.rate_buckets


class ReservationRows(Reservations):
    """Reservations as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def add(self, reservation: Reservation) -> None:
        await self._connection.execute(insert(_reservations).values(asdict(reservation)))

    @override
    async def save(self, reservation: Reservation) -> None:
        key = and_(
            _of_service(reservation.account_id, reservation.service_id),
            _reservations.c.reservation_number == reservation.reservation_number,
        )
        await self._connection.execute(update(_reservations).where(key).values(asdict(reservation)))

    @override
    async def active(self, account_id: str, service_ids: Sequence[str], now_us: int) -> dict[str, list[Reservation]]:
        query = select(_reservations).where(
            _reservations.c.account_id == account_id,
            _reservations.c.service_id.in_(service_ids),
            _reservations.c.end_us > now_us,
            _reservations.c.cancelled.is_(False),
        )
        found: dict[str, list[Reservation]] = {}
        for row in (await self._connection.execute(query)).mappings():
            found.setdefault(row["service_id"], []).append(reservation_of(row))
        return found

    @override
    async def get(self, account_id: str, service_id: str, number: int) -> Reservation | None:
        query = select(_reservations).where(
            _of_service(account_id, service_id), _reservations.c.reservation_number == number
        )
        row = (await self._connection.execute(query)).mappings().one_or_none()
        return None if row is None else reservation_of(row)

    @override
    async def page(self, account_id: str, service_id: str, after: int, limit: int) -> list[Reservation]:
        number = _reservations.c.reservation_number
        query = select(_reservations).where(_of_service(account_id, service_id), number > after)
        rows = await self._connection.execute(query.order_by(number).limit(limit))
        return [reservation_of(row) for row in rows.mappings()]


class BucketRows(Buckets):
    """Rate buckets as rows, one at a time."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, account_id: str, service_uid: str, kind: PotKind) -> Bucket | None:
        columns = [column for column in _buckets.c if not column.primary_key]
        query = select(*columns).where(_bucket_key(account_id, service_uid, kind))
        row = (await self._connection.execute(query)).mappings().one_or_none()
        return None if row is None else Bucket(**row)

    @override
    async def put(self, account_id: str, service_uid: str, kind: PotKind, bucket: Bucket) -> None:
        values = asdict(bucket)
        changed = await self._connection.execute(
            update(_buckets).where(_bucket_key(account_id, service_uid, kind)).values(values)
        )
        if changed.rowcount == 0:
            key = {"account_id": account_id, "service_uid": service_uid, "kind": kind}
            await self._connection.execute(insert(_buckets).values(key | values))


def _of_service(account_id: str, service_id: str) -> ColumnElement[bool]:
    return and_(_reservations.c.account_id == account_id, _reservations.c.service_id == service_id)


def _bucket_key(account_id: str, service_uid: str, kind: PotKind) -> ColumnElement[bool]:
    return and_(_buckets.c.account_id == account_id, _buckets.c.service_uid == service_uid, _buckets.c.kind == kind)


def reservation_of(row: RowMapping) -> Reservation:
    """The reservation in a row of the table `reservations`."""
    values = dict(row)
    return Reservation(**values | {"overflow_policy": OverflowPolicy(values["overflow_policy"])})
