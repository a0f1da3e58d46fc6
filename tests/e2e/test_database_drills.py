"""A database that is taken away from a fleet under load: nothing is lost, nothing is booked twice, and it goes on."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills.drills import fail_over

REQUEST_COUNT = 400


@pytest.fixture
def directory() -> Iterator[Path]:
    """Open to the user that PostgreSQL runs as."""
    with tempfile.TemporaryDirectory(prefix="tallygate-postgres-") as directory:
        yield Path(directory)


def outages(log: Path) -> list[tuple[str, str]]:
    """What a program's log says of outages."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [(line["event"], line["of"]) for line in lines if line["event"].startswith("outage")]


async def test_a_stand_by_takes_over(directory: Path, tmp_path: Path) -> None:
    """The leader is killed in the middle of a replay; the log has two lines of it, whatever was tried meanwhile.

    A database that is slow to come back may be away once more: of that, too, the log has a beginning and an end.
    """
    drilled = await fail_over(directory, tmp_path, REQUEST_COUNT, speed=1)
    assert drilled.outcome.reconciled, drilled.outcome.as_json()
    assert drilled.outcome.tally.finished == drilled.outcome.tally.allowed
    told = outages(tmp_path / "control.log")
    assert told == [("outage_began", "database"), ("outage_over", "database")] * (len(told) // 2)
    assert told
