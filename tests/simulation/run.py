"""One seed, from the beginning to its outcome."""

import asyncio
import gc
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from control_service.usecases.fleet import config_feed
from metering_service.usecases.commits import checkpoints
from tests.simulation import credentials, gatherings, key_checks, keys, lease_rules, limits, whole_answers
from tests.simulation.simulation_harness import World

TAIL_LINES = 60
SOON_POLL_S = 0.25


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
    with _silence(), _no_garbage_collection(), _small_checkpoints(), _polls(soon=proofs or limited or keyed):
        world = World(seed, replicas=replicas, storm=storm, credentials=proofs, limits=limited, keys=keyed)
        if tail is not None:
            world.tail = deque(maxlen=tail)
        try:
            with (
                whole_answers.watched(world),
                gatherings.watched(world),
                key_checks.watched(world),
                lease_rules.watched(world),
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
def _small_checkpoints() -> Iterator[None]:
    """Few requests run here at a time; yet decisions shall come between the steps of a checkpoint, and its commits."""
    before = checkpoints.CHECKPOINT_STEP, checkpoints.CHECKPOINT_SLICE
    checkpoints.CHECKPOINT_STEP, checkpoints.CHECKPOINT_SLICE = 2, 8
    try:
        yield
    finally:
        checkpoints.CHECKPOINT_STEP, checkpoints.CHECKPOINT_SLICE = before


@contextmanager
def _polls(*, soon: bool) -> Iterator[None]:
    """Where servers prove who they are, or limits or keys change, replicas look soon enough for what others changed."""
    before = config_feed.POLL_S
    config_feed.POLL_S = SOON_POLL_S if soon else before
    try:
        yield
    finally:
        config_feed.POLL_S = before


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
