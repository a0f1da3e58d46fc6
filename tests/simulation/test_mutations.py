"""Each bug that is planted on purpose is found; `make simulate-mutations` looks for the seeds."""

import json

import pytest

from tests.simulation.mutants import FOUND, plant
from tests.simulation.planting import MUTATIONS

SEEDS: dict[str, int] = json.loads(FOUND.read_text())


def test_every_planted_bug_has_a_seed() -> None:
    """There are many, and the search found all of them."""
    assert set(SEEDS) == set(MUTATIONS)
    assert len(SEEDS) >= 25
    assert all(make.__doc__ for make in MUTATIONS.values())


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_planted_bug_is_found(name: str) -> None:
    """By the seed that the search found."""
    assert plant(name, SEEDS[name]).problem is not None
