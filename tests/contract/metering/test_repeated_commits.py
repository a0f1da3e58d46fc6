"""The books do not depend on how often a batch had to be sent."""

import itertools
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.errors import StorageUnavailableError
from metering_service.domain.records import LeaseRecord, RequestRecord, RequestState
from metering_service.storage import SqlRecorder, SqlUsageReader
from metering_service.storage.fenced_commit import SqliteWriter, Writer, writer_for
from tallygate._server.database.engine import quick_reads, sqlite_connector
from tallygate._server.database.quick_reads import Rows
from tests.harness.metering.records import (
    MINUTE_US,
    NOON_US,
    batch,
    denial,
    lease,
    open_request,
    rows,
    settled_request,
    shown,
    usage,
)

COUNTS = st.integers(min_value=0, max_value=1_000)
FEW = st.integers(min_value=0, max_value=2)


class Fate(Enum):
    """What befalls a commit on its way."""

    WELL = 0
    ANSWER_LOST = 1
    LOST = 2


@dataclass
class Books:
    """What must be in the database once each batch was written exactly once."""

    requests: dict[str, RequestRecord] = field(default_factory=dict)
    leases: dict[str, LeaseRecord] = field(default_factory=dict)
    outputs: Counter[int] = field(default_factory=Counter)
    denials: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class Step:
    """Something to write: a request's state, a lease's consumption, usage or denials of a minute."""

    what: str
    key: int
    count: int
    last: bool

    def write(self, node: str, service: str, books: Books) -> object:
        """The record; the books change as they must."""
        uid = f"uid of {service}"
        match self.what:
            case "request":
                make = settled_request if self.last else open_request
                made = make(f"r{self.key}", output=self.count)
                record = made._replace(node=node, service=service, service_uid=uid)
                before = books.requests.get(record.request_id)
                if before is None or before.state is RequestState.OPEN or self.last:
                    books.requests[record.request_id] = record
                return record
            case "lease":
                drawn = lease(f"{node}-{self.key}", self.count, closed=self.last)
                said = replace(drawn, node=node, service=service, service_uid=uid)
                known = books.leases.get(said.lease_id, said)
                books.leases[said.lease_id] = replace(
                    said,
                    consumed_units=max(said.consumed_units, known.consumed_units),
                    closed=said.closed or known.closed,
                )
                return said
            case "usage":
                books.outputs[self.key] += self.count
                return usage(self.key, self.count, service=service)
        books.denials[self.key] += self.count
        return denial(self.key, self.count, service=service)


STEPS = st.builds(Step, st.sampled_from(["request", "lease", "usage", "denial"]), FEW, COUNTS, st.booleans())
BATCHES = st.lists(STEPS, max_size=8, unique_by=lambda step: (step.what, step.key))
EPOCHS = st.lists(st.lists(st.tuples(BATCHES, st.sampled_from(Fate)), max_size=4), min_size=1, max_size=3)


class FaultyLine:
    """Breaks the connection under the next commit when told to."""

    def __init__(self) -> None:
        self.break_next = False

    def under(self, engine: AsyncEngine) -> Writer:
        """A writer over this line."""
        if engine.dialect.name == "postgresql":
            event.listen(engine.sync_engine, "commit", self._break)
            reads = quick_reads(engine)
            ask = reads.found

            async def found(query: str, values: Sequence[Any]) -> Rows:
                self._break()
                return await ask(query, values)

            reads.found = found  # type: ignore[method-assign]
            return writer_for(engine)
        connect = sqlite_connector(engine)
        return SqliteWriter(lambda: cast("sqlite3.Connection", FaultyConnection(connect(), self)))

    def _break(self, _connection: Connection | None = None) -> None:
        if self.break_next:
            self.break_next = False
            raise ConnectionResetError("the line broke before the commit")


class FaultyConnection:
    """SQLite's, over a line that may break."""

    def __init__(self, connection: sqlite3.Connection, line: FaultyLine) -> None:
        self._connection = connection
        self._line = line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        if statement == "COMMIT":
            self._line._break()
        return self._connection.execute(statement, values)


@pytest.fixture
def line() -> FaultyLine:
    """The line to the database."""
    return FaultyLine()


@pytest.fixture
async def recorder(database: AsyncEngine, line: FaultyLine) -> AsyncIterator[SqlRecorder]:
    """The recorder under test, over that line."""
    recorder = SqlRecorder(database, lambda: "id", line.under(database))
    yield recorder
    await recorder.close()


NUMBERS = itertools.count()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(epochs=EPOCHS)
async def test_retries_do_not_change_the_books(
    recorder: SqlRecorder, reader: SqlUsageReader, line: FaultyLine, epochs: list[list[tuple[list[Step], Fate]]]
) -> None:
    """Whatever is lost and sent again, in however many epochs: the same as if all had gone well."""
    number = next(NUMBERS)
    node, service, books = f"node-{number}", f"accounts/acme/services/s{number}", Books()
    for batches in epochs:
        epoch = await recorder.register_node(node)
        for commit_no, (steps, fate) in enumerate(batches, start=1):
            sent = batch(commit_no, *(step.write(node, service, books) for step in steps))
            line.break_next = fate is Fate.LOST
            if fate is Fate.LOST:
                with pytest.raises(StorageUnavailableError):
                    await recorder.commit(node, epoch, sent)
            for _ in range(2 if fate is Fate.ANSWER_LOST else 1):
                await recorder.commit(node, epoch, sent)
    await _check(recorder, reader, node, service, books)


async def _check(recorder: SqlRecorder, reader: SqlUsageReader, node: str, service: str, books: Books) -> None:
    requests = sorted(books.requests.values(), key=lambda record: record.request_id)
    assert list(await reader.list_requests(service, None, 100)) == [shown(record) for record in requests]
    last = await recorder.register_node(node)
    open_requests = [record for record in requests if record.state is RequestState.OPEN]
    assert await recorder.open_requests(node, last) == open_requests
    open_leases = [books.leases[key] for key in sorted(books.leases) if not books.leases[key].closed]
    assert await recorder.open_leases(node, last) == open_leases
    found = await rows(reader, step=1, services=(service,))
    by_minute = {(row.start_us - NOON_US) // MINUTE_US: row for row in found}
    assert by_minute.keys() == books.outputs.keys() | books.denials.keys()
    for minute, row in by_minute.items():
        assert row.totals.usage.output == books.outputs[minute]
        assert sum(count for _, count in row.denials) == books.denials[minute]
