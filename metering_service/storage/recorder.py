"""The writing half of the metering database."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, false, select
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.key_ring import ResumeKey
from metering_service.domain.records import CommitBatch, EpochMark, LeaseRecord, Registration, RequestKey, RequestRecord
from metering_service.storage.epochs import begin_epoch, ensured, history_of, locked
from metering_service.storage.failures import database_answers
from metering_service.storage.fenced_commit import Writer, writer_for
from metering_service.storage.left_open import REGISTRATION, has_open_text, unsettled_text
from metering_service.storage.request_lookup import bookings_text, named, values, wanted
from metering_service.storage.resume_keys import add_key, read_keys
from metering_service.storage.rows import lease_of, request_of, with_counts
from metering_service.storage.schema import IS_OPEN, leases, meta, nodes, rechecks, requests, services
from metering_service.usecases.ports import RequestName
from tallygate._server.database.engine import quick_reads, read_only
from tallygate._server.database.quick_reads import Rows
from tallygate._server.database.upsert import dialect_insert

_DATABASE_ID: Final = "database_id"


class SqlRecorder:
    """`Recorder` over SQLite or PostgreSQL. `id_factory` makes the database's id, if it has none yet.

    `writer` is by default the one that suits the engine; close it in the end. `model_of` says the model of a service by
    its name, empty where that is not known; it may be set later.
    """

    def __init__(self, engine: AsyncEngine, id_factory: Callable[[], str], writer: Writer | None = None) -> None:
        self._engine = engine
        self._id_factory = id_factory
        self._writer = writer if writer is not None else writer_for(engine)
        self.model_of: Callable[[str], str] = lambda _service: ""
        self._known_services: set[tuple[str, str]] = set()
        # Built once: building one takes longer than the database takes to answer it.
        self._of_names = with_counts(wanted(engine.dialect))
        self._bookings = bookings_text(engine.dialect)
        self._unsettled = unsettled_text(engine.dialect)
        self._has_open = has_open_text(engine.dialect)

    async def close(self) -> None:
        """Let go of what this one has open by itself; the engine is its owner's to dispose of."""
        await self._writer.close()

    async def database_id(self) -> str:
        """Return the id that the database has, or enter a new one."""
        propose = dialect_insert(self._engine.dialect, meta).values(key=_DATABASE_ID, value=self._id_factory())
        async with database_answers(self._engine, "writing"), self._engine.begin() as connection:
            await connection.execute(propose.on_conflict_do_nothing())
            return str(await connection.scalar(select(meta.c.value).where(meta.c.key == _DATABASE_ID)))

    async def resume_keys(self) -> list[ResumeKey]:
        """Read all keys, in order of their numbers."""
        return await read_keys(self._engine)

    async def add_resume_key(self, key: ResumeKey) -> None:
        """Enter a key, unless there is one of that number."""
        await add_key(self._engine, key)

    async def register_node(self, node: str, holder: str = "") -> int:
        """Begin the node's next epoch, under a lock of its row, and return it."""
        async with database_answers(self._engine, "writing"), self._engine.begin() as connection:
            row = await ensured(connection, node)
            return await begin_epoch(connection, row, row.epoch + 1, holder)

    async def registration(self, node: str) -> Registration | None:
        """Read the node's row; None if there is none."""
        query = select(*REGISTRATION).where(nodes.c.node == node)
        async with database_answers(self._engine), read_only(self._engine) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Registration(*row)

    async def unsettled_nodes(self, but: str) -> list[Registration]:
        """Find all other nodes that have open requests or leases on record, or rechecks to take."""
        async with database_answers(self._engine):
            return [Registration(*row) for row in await self._read_quickly(self._unsettled, but)]

    async def take_over(self, lost: Registration, holder: str, *, idle: bool) -> int | None:
        """Begin the lost node's next epoch; None where another one began, or where `idle` and it committed since."""
        async with database_answers(self._engine, "writing"), self._engine.begin() as connection:
            row = await locked(connection, lost.node)
            if row is None or row.epoch != lost.epoch or (idle and row.commit_no != lost.commit_no):
                return None
            return await begin_epoch(connection, row, row.epoch + 1, holder)

    async def history(self, node: str) -> list[EpochMark]:
        """Read how far past epochs got: the node's own, and of others the last answered exchange."""
        return await history_of(self._engine, node)

    async def commit(self, node: str, epoch: int, batch: CommitBatch) -> Collection[RequestName] | None:
        """Write a batch as one transaction; services that were not seen before are entered with it."""
        records = (*batch.requests, *batch.notes, *batch.unauthorised)
        new_services = {(record.service_uid, record.service) for record in records}
        new_services |= {(key.service_uid, key.service) for key, _ in batch.denials}
        new_services -= self._known_services
        names = [(uid, name, self.model_of(name)) for uid, name in sorted(new_services)]
        async with database_answers(self._engine, "writing"):
            kept = await self._writer.write(node, epoch, batch, names)
        self._known_services |= new_services
        return kept

    async def open_requests(self, node: str, below_epoch: int) -> list[RequestRecord]:
        """Find the OPEN records of this node's earlier epochs."""
        # Asked all the time, and hardly ever is there one: records themselves cost much more to ask for.
        async with database_answers(self._engine):
            ((is_any_open,),) = await self._read_quickly(self._has_open, node, below_epoch)
        if not is_any_open:
            return []
        return await self._requests(requests.c.node == node, requests.c.epoch < below_epoch, IS_OPEN)

    async def open_rechecks(self, node: str, below_epoch: int) -> list[tuple[int, RequestKey]]:
        """Find the rechecks that earlier epochs of this node had still to take."""
        columns = rechecks.c
        query = (
            select(columns.epoch, columns.service, columns.request_id, columns.part)
            .where(columns.node == node, columns.epoch < below_epoch)
            .order_by(*rechecks.primary_key)
        )
        async with database_answers(self._engine), read_only(self._engine) as connection:
            return [
                (epoch, (service, request_id, part))
                for epoch, service, request_id, part in await connection.execute(query)
            ]

    async def find_request(self, service_uid: str, request_id: str) -> list[RequestRecord]:
        """Find all parts of one request, in order of their start."""
        names = select(services.c.service).where(services.c.service_uid == service_uid)
        found = await self._requests(
            requests.c.service.in_(names),
            requests.c.request_id == request_id,
            requests.c.service_uid == service_uid,
        )
        return sorted(found, key=_by_start)

    async def find_requests(self, names: Sequence[RequestName]) -> dict[RequestName, list[RequestRecord]]:
        """Find all parts of these requests with one query."""
        found: dict[RequestName, list[RequestRecord]] = {}
        async with database_answers(self._engine), read_only(self._engine) as connection:
            rows = (await connection.execute(self._of_names, named(self._engine.dialect, names))).all()
            for row in rows:
                record = request_of(row)
                found.setdefault(RequestName(record.service, record.request_id), []).append(record)
        for parts in found.values():
            parts.sort(key=_by_start)
        return found

    async def first_booked_us(self, names: Sequence[RequestName]) -> dict[RequestName, int]:
        """Find when each of these requests was booked first, with one query."""
        found: dict[RequestName, int] = {}
        async with database_answers(self._engine):
            parts = await quick_reads(self._engine).found(self._bookings, values(self._engine.dialect, names))
        for *name, booked_us in parts:
            request = RequestName(*name)
            found[request] = min(booked_us, found.get(request, booked_us))
        return found

    async def open_leases(self, node: str, below_epoch: int) -> list[LeaseRecord]:
        """Find the leases of this node's earlier epochs that are not closed."""
        query = (
            select(leases)
            .where(leases.c.node == node, leases.c.epoch < below_epoch, leases.c.closed == false())
            .order_by(leases.c.lease_id)
        )
        async with database_answers(self._engine), read_only(self._engine) as connection:
            return [lease_of(row) for row in (await connection.execute(query)).mappings()]

    async def _read_quickly(self, query: str, *values: Any) -> Rows:
        return await quick_reads(self._engine).found(query, values)

    async def _requests(self, *conditions: ColumnElement[bool]) -> list[RequestRecord]:
        query = with_counts().where(*conditions).order_by(*requests.primary_key)
        async with database_answers(self._engine), read_only(self._engine) as connection:
            return [request_of(row) for row in (await connection.execute(query)).all()]


def _by_start(record: RequestRecord) -> tuple[int, str]:
    return record.start_us, record.part
