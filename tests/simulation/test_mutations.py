"""Each bug that is planted on purpose is found; `make simulate-mutations` looks for the seeds."""

import json

import pytest

from tests.simulation.mutants import FOUND, plant
from tests.simulation.planting import MUTATIONS

SEEDS: dict[str, int] = json.loads(FOUND.read_text())


def test_the_search_found_all_planted_bugs() -> None:
    """There is a seed for each; each says what is broken."""
    assert set(SEEDS) == set(MUTATIONS)
    assert all(make.__doc__ for make in MUTATIONS.values())


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_a_planted_bug_is_found(name: str) -> None:
    """By the seed that the search found."""
    assert plant(name, SEEDS[name]).problem is not None
