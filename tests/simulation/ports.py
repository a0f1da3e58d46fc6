"""The databases as processes reach them: slow, failing, or answering a commit with silence."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from typing_extensions import override

from control_service.domain.errors import StorageUnavailableError as ControlUnavailableError
from control_service.storage.database import SqlDatabase
from control_service.storage.glance import glance_of, query
from control_service.usecases.ports import Database, Transaction
from control_service.usecases.pulse_ports import Glance
from metering_service.domain.errors import StorageUnavailableError as MeteringUnavailableError
from metering_service.storage import SqlPurgeStore, SqlRecorder, SqlRecoveryStore
from tests.simulation.chance import Chance
from tests.simulation.database import SimulatedDatabase
from tests.simulation.gatherings import IS_SPOILED, Spoiled
from tests.simulation.loop import Party


class Disk:
    """What may be wrong with a database for a while."""

    def __init__(self, chance: Chance) -> None:
        self.chance = chance
        self.away = False
        """Nothing is answered."""
        self.full = False
        """Nothing can be written."""
        self.has_stamps = True
        """Whether it tells without a query that something was committed."""

    async def before(self, party: Party, *, writes: bool, error: Callable[[], Exception]) -> None:
        """On the way there."""
        party.check()
        chance = self.chance
        delay_s = chance.latency_s()
        if writes and chance.strikes("commit slow"):
            delay_s += chance.uniform(0.3, 3.0)
        await asyncio.sleep(delay_s)
        party.check()
        if self.away or (writes and (self.full or chance.strikes("commit fails"))):
            raise error()

    async def after(self, party: Party, *, writes: bool, error: Callable[[], Exception]) -> None:
        """On the way back: what was written is written, whether or not anybody hears of it."""
        unknown = writes and self.chance.strikes("commit outcome unknown")
        await asyncio.sleep(self.chance.latency_s())
        party.check()
        if unknown:
            raise error()


class ControlDatabase(Database):
    """`Database` of one replica. A transaction is one step: nothing happens between its beginning and its end."""

    def __init__(self, real: SqlDatabase, simulated: SimulatedDatabase, disk: Disk, party: Party) -> None:
        self._real = real
        self._simulated = simulated
        self._disk = disk
        self._party = party

    @override
    def stamp(self) -> int | None:
        """As SQLite has it, or PostgreSQL, which has none."""
        return None if self._disk.away or not self._disk.has_stamps else self._simulated.changes

    @override
    async def glance(self) -> Glance:
        """What the real queries find, in one step."""
        await self._disk.before(self._party, writes=False, error=ControlUnavailableError)
        found = glance_of([*map(tuple, self._simulated.rows(query(self._simulated.dialect)))])
        await self._disk.after(self._party, writes=False, error=ControlUnavailableError)
        return found

    @override
    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Transaction]:
        """A writing transaction on a disk that may fail before it or after its commit."""
        await self._disk.before(self._party, writes=True, error=ControlUnavailableError)
        async with self._real.writing() as tx:
            yield tx
            if IS_SPOILED.get():
                raise Spoiled
        await self._disk.after(self._party, writes=True, error=ControlUnavailableError)

    @override
    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """A reading transaction on a disk that may fail."""
        await self._disk.before(self._party, writes=False, error=ControlUnavailableError)
        async with self._real.reading() as tx:
            yield tx
        await self._disk.after(self._party, writes=False, error=ControlUnavailableError)


WRITES = frozenset({"register_node", "commit", "database_id", "take_over", "fence", "add_resume_key"})


class MeteringDatabase:
    """`Recorder` of one process: every method of the real one, on the same way there and back."""

    def __init__(self, real: SqlRecorder | SqlRecoveryStore | SqlPurgeStore, disk: Disk, party: Party) -> None:
        self._real = real
        self._disk = disk
        self._party = party

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        writes = name in WRITES or name.startswith("purge")

        async def call(*args: Any, **options: Any) -> Any:
            await self._disk.before(self._party, writes=writes, error=_unavailable)
            result = await method(*args, **options)
            await self._disk.after(self._party, writes=writes, error=_unavailable)
            return result

        return call


def _unavailable() -> Exception:
    return MeteringUnavailableError("The metering database does not answer (simulated); try again.")
