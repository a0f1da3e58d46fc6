"""One seed, from the beginning to its outcome."""

import asyncio
import gc
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import structlog

from control_service.usecases.fleet import config_feed
from control_service.usecases.upkeep import sweeper
from metering_service import assembly
from metering_service.usecases.commits import checkpoints
from tests.simulation import credentials, gatherings, key_checks, keys, lease_rules, limits, whole_answers
from tests.simulation.simulation_harness import World

TAIL_LINES = 60
POLL_S, SOON_POLL_S = 1.0, 0.25
SWEEP_S = 1.0
EXPIRE_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a seed ended. `problem`: one sentence, or None. `tail`: the end of its trace, if there was a problem.

    Of the requests that ask, `begun` are those that were allowed; `finished` are all whose end is durable. `exchanges`:
    how many exchanges of leases each control replica answered, by its name. `group_sizes`: in how many transactions
    there were so many exchanges.
    """

    seed: int
    storm: bool
    proofs: bool
    problem: str | None
    trace_hash: str
    requests: int
    asked: int
    begun: int
    finished: int
    tokens: int
    struck: dict[str, int]
    exchanges: dict[str, int]
    group_sizes: dict[int, int]
    tail: tuple[str, ...]


def simulate(
    seed: int,
    *,
    tail: int | None = None,
    replicas: int | None = None,
    storm: bool = False,
    proofs: bool | None = None,
    limited: bool | None = None,
    keyed: bool | None = None,
) -> Outcome:
    """Run it. Whatever is raised, by a check or by the code under test, is the problem.

    `replicas`: how many control replicas there are; None: as the seed has it. `storm`: whether few requests begin for
    all that goes wrong. `proofs`: whether servers have to prove who they are, `limited`: whether accounts have budgets,
    `keyed`: whether end users show API keys; None: as the seed has it, in no storm.
    """
    if proofs is None:
        proofs = not storm and credentials.in_seed(seed)
    if limited is None:
        limited = not storm and limits.in_seed(seed)
    if keyed is None:
        keyed = not storm and keys.in_seed(seed)
    problem = None
    with _silence(), _no_garbage_collection(), _intervals(poll_soon=proofs or limited or keyed):
        world = World(seed, replicas=replicas, storm=storm, credentials=proofs, limits=limited, keys=keyed)
        if tail is not None:
            world.tail = deque(maxlen=tail)
        try:
            with (
                whole_answers.watched(world),
                gatherings.watched(world),
                key_checks.watched(world),
                lease_rules.watched(world),
                world.slot_returns.watched(),
            ):
                world.run()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # any exception is a finding
            problem = f"{type(error).__name__}: {error}"
    lines = tuple(world.tail)[-(tail or TAIL_LINES) :] if problem is not None or tail is not None else ()
    tokens = sum(job.total_tokens for job in world.jobs)
    return Outcome(
        seed,
        storm,
        proofs,
        problem,
        world.trace_hash,
        len(world.jobs),
        sum(job.asks for job in world.jobs),
        sum(job.asks and job.begun for job in world.jobs),
        sum(job.durable for job in world.jobs),
        tokens,
        dict(world.chance.struck),
        dict(world.exchanges),
        dict(world.group_sizes),
        lines,
    )


@contextmanager
def _silence() -> Iterator[None]:
    """What the services have to say of the faults around them is of no interest here, and costs time."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def _intervals(*, poll_soon: bool) -> Iterator[None]:
    """Sets the services' intervals for one seed, and puts them back: other tests run in this process, too.

    Polling is most of what an idle fleet costs, and whoever changes something in the same process is told at once
    anyway; where servers prove who they are, or limits or keys change, replicas look soon enough for what others
    changed. Few requests run here at a time; yet decisions shall come between the steps of a checkpoint.
    """
    with (
        patch.object(config_feed, "POLL_S", SOON_POLL_S if poll_soon else POLL_S),
        patch.multiple(sweeper, TICK_S=SWEEP_S, OBSERVATION_S=SWEEP_S),
        patch.object(assembly, "EXPIRE_INTERVAL_S", EXPIRE_INTERVAL_S),
        patch.multiple(checkpoints, CHECKPOINT_STEP=2, CHECKPOINT_SLICE=8),
    ):
        yield


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """What is collected, and when, depends on what ran before; and it costs time."""
    gc.disable()
    # What was there before is not looked at again after each seed.
    gc.freeze()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()
        gc.unfreeze()
