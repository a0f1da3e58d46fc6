"""Each bug that is planted on purpose is found; `make simulate-mutations` looks for the seeds."""

import json
import os

import pytest

from metering_service import IS_COMPILED
from tests.simulation.mutants import FOUND, plant
from tests.simulation.planting import MUTATIONS
from tests.simulation.workers import run_each

pytestmark = pytest.mark.skipif(IS_COMPILED, reason="bugs are planted in source, which compiled code does not look at")

SEEDS: dict[str, int] = json.loads(FOUND.read_text())
JOBS_MAX = 4
"""Maximum number of processes: a machine may have many more processors than it has memory for."""


def shown(asked: tuple[str, int]) -> tuple[str, str | None]:
    """What is wrong where a bug is planted."""
    name, seed = asked
    return name, plant(name, seed).problem


@pytest.fixture(scope="module")
def problems() -> dict[str, str | None]:
    """By planted bug. Side by side: each takes some seconds of processor."""
    return dict(run_each(shown, sorted(SEEDS.items()), jobs=min(os.cpu_count() or 1, JOBS_MAX), per_process=20))


def test_the_search_found_all_planted_bugs() -> None:
    """There is a seed for each; each says what is broken."""
    assert set(SEEDS) == set(MUTATIONS)
    assert all(make.__doc__ for make in MUTATIONS.values())


@pytest.mark.hang_limit(1_200)
@pytest.mark.parametrize("name", sorted(SEEDS))
def test_a_planted_bug_is_found(name: str, problems: dict[str, str | None]) -> None:
    """By the seed that the search found."""
    assert problems[name] is not None
