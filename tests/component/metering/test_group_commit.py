"""The one writer, and the work that look into the database, as tasks on an event loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.errors import NodeFencedError, StorageUnavailableError
from metering_service.domain.records import CommitBatch, RequestRecord
from metering_service.domain.report import Phase
from metering_service.usecases.commits import group_commit
from metering_service.usecases.commits.group_commit import GroupCommitter
from metering_service.usecases.lookups import lookups
from metering_service.usecases.lookups.lookups import WorkRunner
from metering_service.usecases.ports import RequestName
from metering_service.usecases.settings import NodeSettings
from tests.harness.metering.memory_recorder import MemoryRecorder
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, with_trial
from tests.harness.patience import until

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


class SlowRecorder(MemoryRecorder):
    """Commits when it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[CommitBatch] = []
        self.may_commit = asyncio.Event()
        self.may_commit.set()

    async def commit(self, node: str, epoch: int, batch: CommitBatch) -> set[RequestName] | None:
        self.asked.append(batch)
        await self.may_commit.wait()
        return await super().commit(node, epoch, batch)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long before trying again."""
    monkeypatch.setattr(group_commit, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(lookups, "RETRY_S", 0.001)


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    """One node with a writer of its own, and a service with a trial."""
    fleet = Fleet(settings=NodeSettings(checkpoint_interval_ns=20_000_000), database=SlowRecorder())
    with_trial(fleet, 1_000_000)
    rig = fleet["a"]
    committer = GroupCommitter(rig.buffer, rig.checkpoints, fleet.database, node="a", epoch=1, settings=fleet.settings)
    task = asyncio.create_task(committer.run())
    client = Client(rig)
    client.say(report(AUTHORIZE, "warm", max_output_tokens=0))
    client.say(report(FINISH, "warm"))
    await until(lambda: rig.checkpoints.idle)
    yield fleet
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, NodeFencedError):
        await task


def recorder(fleet: Fleet) -> SlowRecorder:
    assert isinstance(fleet.database, SlowRecorder)
    return fleet.database


async def test_what_gathers_during_a_commit_goes_in_the_next(fleet: Fleet) -> None:
    """One commit at a time; decisions do not wait for it."""
    database, client = recorder(fleet), Client(fleet["a"])
    for number in range(20):
        client.say(report(AUTHORIZE, f"r{number}", Counts(1)))
    await until(lambda: fleet["a"].checkpoints.idle)
    database.may_commit.clear()
    database.asked.clear()
    client.say(report(FINISH, "r0", Counts(1)))
    await until(lambda: len(database.asked) == 1)
    for number in range(1, 20):
        client.say(report(FINISH, f"r{number}", Counts(1)))
    assert client.answered == 40
    assert client.durable == 20
    database.may_commit.set()
    await until(lambda: fleet["a"].checkpoints.idle)
    client.hear()
    assert client.durable == 40
    assert [len(batch.requests) for batch in database.asked] == [1, 19]
    assert [batch.commit_no for batch in database.asked] == [database.asked[0].commit_no + n for n in range(2)]


async def test_a_commit_whose_outcome_is_unknown_is_said_again(fleet: Fleet) -> None:
    """With the same number and the same content, until it is known to be written; then it was written once."""
    database, client = recorder(fleet), Client(fleet["a"])
    client.say(report(AUTHORIZE, "r0", Counts(7)))
    await until(lambda: fleet["a"].checkpoints.idle)
    database.asked.clear()
    database.down = True
    client.say(report(FINISH, "r0", Counts(7)))
    await until(lambda: len(database.asked) > 3)
    database.down, database.deaf = False, True
    await until(lambda: fleet["a"].checkpoints.idle)
    assert len({id(batch) for batch in database.asked}) == 1
    assert sum(cell.usage.total for cell in database.aggregates.values()) == 7


async def test_running_counts_are_committed_before_long(fleet: Fleet) -> None:
    """Without waiting for the finish."""
    database, client = recorder(fleet), Client(fleet["a"])
    client.say(report(AUTHORIZE, "r0", Counts(10)))
    client.say(report(PROGRESS, "r0", Counts(10, output=3)))
    assert client.durable == 1
    await until(lambda: fleet["a"].checkpoints.idle)
    client.hear()
    assert client.durable == 2
    (record,) = [record for record in database.requests.values() if record.request_id == "r0"]
    assert (record.counts, record.booked_us) == (Counts(10, output=3), None)


async def test_a_fenced_node_stops_writing() -> None:
    """Another epoch has taken over: nothing of the batch is written, and the writer ends."""
    fleet = Fleet()
    with_trial(fleet, 1_000)
    rig = fleet["a"]
    committer = GroupCommitter(rig.buffer, rig.checkpoints, fleet.database, node="a", epoch=1, settings=fleet.settings)
    await fleet.database.register_node("a")
    client = Client(rig)
    client.say(report(FINISH, "r0", Counts(7)))
    with pytest.raises(NodeFencedError):
        await committer.run()
    assert fleet.database.requests == {}
    client.hear()
    assert client.durable == 0


@dataclass
class Line:
    """The line to control, as work see it."""

    said: list[str] = field(default_factory=list)

    def subscribe(self, service: str) -> None:
        self.said.append(f"+{service}")

    def unsubscribe(self, service: str) -> None:
        self.said.append(f"-{service}")

    def follow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        self.said += [f"+{name!r}" for name in (*keys, *models)]

    def unfollow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        self.said += [f"-{name!r}" for name in (*keys, *models)]

    def exchange(self) -> None:
        self.said.append("exchange")


@dataclass
class Counting(MemoryRecorder):
    """Counts what it is asked for, and fails as often as it is told to."""

    failures: int = 0
    rechecked: int = 0
    asked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    async def find_requests(self, names: Sequence[RequestName]) -> dict[RequestName, list[RequestRecord]]:
        self.rechecked += 1
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise StorageUnavailableError("The metering database does not answer.")
        return await super().find_requests(names)

    async def first_booked_us(self, names: Sequence[RequestName]) -> dict[RequestName, int]:
        self.asked.append(len(names))
        if self.failures:
            self.failures -= 1
            raise StorageUnavailableError("The metering database does not answer.")
        return await super().first_booked_us(names)


async def test_a_request_is_looked_for_once_at_a_time(fleet: Fleet) -> None:
    """Until the database answers; then all that waits for it is decided on."""
    database = Counting(failures=3)
    rig = fleet["a"]
    Client(rig).say(report(AUTHORIZE, "r0", Counts(10)))
    runner = WorkRunner(Line(), database, rig.keys, NodeSettings())
    runner.node = rig.node
    rig.node.work = runner
    client = Client(rig)
    client.send(report(PROGRESS, "r1", Counts(5)), report(PROGRESS, "r1", Counts(6)))
    await until(lambda: not rig.node.waiting)
    assert database.rechecked == 4
    assert rig.node.services[SERVICE].open["r1"].counts == Counts(6)


async def test_errands_are_passed_on_and_can_be_called_off() -> None:
    """Names and exchanges go to the line to control; looking for something ends when the node does."""
    line, database = Line(), Counting(failures=1_000_000)
    fleet = Fleet()
    runner = WorkRunner(line, database, fleet["a"].keys, NodeSettings())
    runner.node = fleet["a"].node
    runner.subscribe("s")
    runner.exchange()
    runner.unsubscribe("s")
    assert line.said == ["+s", "exchange", "-s"]
    runner.query_request(fleet["a"].node.service("s"), "r1")
    await until(lambda: database.rechecked > 2)
    runner.cancel()
    await asyncio.sleep(0.01)
    rechecked = database.rechecked
    await asyncio.sleep(0.01)
    assert database.rechecked == rechecked


async def test_new_ids_are_looked_up_together() -> None:
    """One query for all that came meanwhile, again until the database answers; a reused one is stopped."""
    database = Counting()
    fleet = Fleet(database=database)
    with_trial(fleet, 1_000_000)
    before = Client(fleet["a"])
    before.say(report(AUTHORIZE, "r7", Counts(10)))
    before.say(report(FINISH, "r7", Counts(10)))
    fleet.run(ms=100)
    fleet.crash("a")
    rig = fleet.start("a")
    runner = WorkRunner(Line(), database, rig.keys, NodeSettings())
    client = Client(rig)
    client.say(report(AUTHORIZE, "warm", Counts(10)))
    database.asked.clear()
    database.failures = 2
    runner.node = rig.node
    rig.node.work = runner
    client.send(*(report(AUTHORIZE, f"r{number}", Counts(10), max_output_tokens=1) for number in range(20)))
    await until(lambda: client.said(None) is not None)
    stopped = client.said(None)
    assert stopped is not None
    assert (stopped.request_id, stopped.reason) == ("r7", Reason.REQUEST_ID_REUSED)
    # Some may have had to wait for a lease, and are not asked for.
    assert database.asked == [database.asked[0]] * 3
    assert database.asked[0] > 10
