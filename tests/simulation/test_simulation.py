"""A few seeds of the simulator; `make simulate` runs as many as you like."""

import os
import subprocess
import sys
from functools import cache

import pytest

from tests.simulation.run import Outcome, simulate
from tests.simulation.workers import run_each


@cache
def outcome_of(seed: int) -> Outcome:
    """A seed is the same story for every test that looks at it."""
    return simulate(seed)


@pytest.mark.parametrize("seed", [1, 2, 3, 8, 16])
def test_nothing_that_must_always_be_true_is_ever_false(seed: int) -> None:
    """Nodes, control replicas and servers crash, pause and lose touch; the books agree to the token and the nano."""
    outcome = outcome_of(seed)
    assert outcome.problem is None, "\n".join((*outcome.tail, outcome.problem or ""))
    assert outcome.finished > 10


def test_many_requests_begin() -> None:
    """Seeds tell little of requests if nearly all of them are denied: of twelve, half begin; of one, a sixth to all."""
    outcomes = [outcome_of(seed) for seed in range(1, 7)]
    asked, begun = (sum(getattr(outcome, count) for outcome in outcomes) for count in ("asked", "begun"))
    assert 3 * begun > asked > 300


def test_servers_that_prove_who_they_are_are_let_in_nowhere_else() -> None:
    """Tokens, roles and principals are taken and given again; nobody is let in whom control does not know any more."""
    outcome = outcome_of(6)
    assert outcome.problem is None, "\n".join((*outcome.tail, outcome.problem or ""))
    assert outcome.proofs
    revoked = ("token disabled", "token rotated", "token replaced", "binding taken", "principal disabled")
    assert sum(outcome.struck.get(what, 0) for what in revoked) > 3
    assert outcome.struck["trespass answered"] > 5
    assert outcome.finished > 10


def test_two_control_replicas_share_the_load() -> None:
    """Both take exchanges of the same nodes and leases over one database, whatever strikes them."""
    outcomes = [simulate(seed, replicas=2) for seed in (5, 7)]
    assert [outcome.problem for outcome in outcomes] == [None, None]
    answered = {name: sum(outcome.exchanges.get(name, 0) for outcome in outcomes) for name in ("control0", "control1")}
    assert min(answered.values()) > 10, answered


def test_exchanges_meet_in_groups() -> None:
    """What several nodes exchange at once is taken in together, and so are the faults that strike."""
    outcome = outcome_of(3)
    assert outcome.problem is None, "\n".join((*outcome.tail, outcome.problem or ""))
    assert sum(count for size, count in outcome.group_sizes.items() if size > 1) > 20, outcome.group_sizes


def test_a_process_that_dies_ends_the_run_with_a_sentence() -> None:
    """It does not wait for an outcome that never comes."""
    with pytest.raises(SystemExit, match="A process died"):
        list(run_each(os._exit, [1, 2], jobs=1, per_process=20))


def test_the_same_seed_is_the_same_story() -> None:
    """In another process, too, with other hashes of texts."""
    expected = outcome_of(3).trace_hash
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    command = [sys.executable, "-m", "tests.simulation", "--seed", "3"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"trace {expected}" in " ".join(shown.split())
