"""The fleet's keys: entered once each day, by any node, and read in time."""

import itertools

import pytest

from metering_service.domain.errors import StorageUnavailableError
from metering_service.domain.key_ring import ResumeKey
from metering_service.usecases.lookups.resume_keys import DAY_US, ResumeKeys
from tallygate._server.clock import ManualClock
from tests.harness.metering.immediate import now
from tests.harness.metering.memory_recorder import MemoryRecorder

HOUR_S = 3_600
DAY_S = 86_400
TOKEN = b"0" * 40


class CountingRecorder(MemoryRecorder):
    """Counts how often its keys are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_count = 0

    async def resume_keys(self) -> list[ResumeKey]:
        self.read_count += 1
        return await super().resume_keys()


def keys_of(database: MemoryRecorder, clock: ManualClock, name: str) -> ResumeKeys:
    return ResumeKeys(database, clock, (f"{name}{number}".encode() for number in itertools.count()).__next__)


def test_there_is_one_key_a_day_whichever_nodes_run() -> None:
    """Whoever finds none enters one; the next follows when that is a day old."""
    database, clock = MemoryRecorder(), ManualClock()
    nodes = [keys_of(database, clock, name) for name in "abc"]
    for _ in range(72):
        for node in nodes:
            now(node.read())
        clock.advance(seconds=HOUR_S)
    keys = now(database.resume_keys())
    assert [key.number for key in keys] == [1, 2, 3]
    assert [key.secret for key in keys] == [b"a0", b"a1", b"a2"]
    assert {later.create_us - earlier.create_us for earlier, later in itertools.pairwise(keys)} == {DAY_US}


def test_of_two_nodes_that_enter_a_key_at_the_same_moment_both_use_the_one_that_is_kept() -> None:
    """Also the first one, which signs at once."""
    database, clock = MemoryRecorder(), ManualClock()
    first, second = keys_of(database, clock, "a"), keys_of(database, clock, "b")
    reading = second.read()
    original = database.resume_keys

    async def empty_once() -> list[ResumeKey]:
        database.resume_keys = original  # type: ignore[method-assign]  # from now on as it is
        now(first.read())
        return []

    database.resume_keys = empty_once  # type: ignore[method-assign]  # what it saw before the other one's commit
    now(reading)
    assert [key.secret for key in database.keys.values()] == [b"a0"]
    token = first.ring.sign("uid", "r1", b"content")
    assert second.ring.sign("uid", "r1", b"content") == token


def test_a_token_with_an_unknown_key_has_the_table_read_once_a_second_at_most() -> None:
    """However many come."""
    database, clock = CountingRecorder(), ManualClock()
    keys = keys_of(database, clock, "a")
    now(keys.read())
    before = database.read_count
    for _ in range(200):
        clock.advance(us=50_000)
        assert keys.ring.lacks(TOKEN)
        now(keys.read_again())
    assert database.read_count == before + 10
    clock.advance(seconds=DAY_S)
    now(keys.read_again())
    assert database.read_count == before + 10


def test_a_key_that_another_node_has_made_is_found() -> None:
    """A node that was away from the database while it was made, and while it began to sign."""
    database, clock = MemoryRecorder(), ManualClock()
    node, other = keys_of(database, clock, "a"), keys_of(database, clock, "b")
    now(node.read())
    clock.advance(seconds=DAY_S)
    now(other.read())
    clock.advance(seconds=61)
    now(other.read())
    token = other.ring.sign("uid", "r1", b"content")
    assert node.ring.lacks(token)
    now(node.read_again())
    assert not node.ring.lacks(token)


def test_a_database_that_is_away_takes_no_key_away() -> None:
    """Tokens are signed and read as before."""
    database, clock = MemoryRecorder(), ManualClock()
    keys = keys_of(database, clock, "a")
    now(keys.read())
    token = keys.ring.sign("uid", "r1", b"content")
    database.down = True
    clock.advance(seconds=2 * DAY_S)
    with pytest.raises(StorageUnavailableError):
        now(keys.read())
    assert keys.ring.sign("uid", "r1", b"content") == token


def test_a_clock_that_ran_ahead_delays_the_next_key_only() -> None:
    """No key is entered for a time that has not come."""
    database, clock = MemoryRecorder(), ManualClock()
    ahead = ManualClock(now_us=clock.now_us() + 5 * DAY_US)
    now(keys_of(database, ahead, "ahead").read())
    keys = keys_of(database, clock, "a")
    for _ in range(7):
        now(keys.read())
        clock.advance(seconds=DAY_S)
    assert [key.secret for key in database.keys.values()] == [b"ahead0", b"a0"]


def test_page_tokens_are_signed_with_the_fleets_keys() -> None:
    """What one node has signed another one takes; one with other keys does not."""
    database, clock = MemoryRecorder(), ManualClock()
    first, second, stranger = (
        keys_of(its, clock, name) for its, name in ((database, "a"), (database, "b"), (MemoryRecorder(), "c"))
    )
    for each in (first, second, stranger):
        now(each.read())
    signature = first.page_keys.sign(b"page")
    assert second.page_keys.is_signed(b"page", signature)
    assert not stranger.page_keys.is_signed(b"page", signature)
