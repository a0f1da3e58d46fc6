"""Servers that cannot be stopped in the middle of an answer: what they ask for, how they live, what is watched of them.

Only some seeds have them, and no luck is drawn for that: so the stories of the others stay as they are.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from metering_service.domain.funding import MONEY, TRIAL
from metering_service.domain.pot import HeldUnits
from metering_service.usecases.reports import admission
from metering_service.usecases.reports.cover import enforced_pots
from metering_service.usecases.reports.whole_answers import cover_whole
from metering_service.usecases.state.pot_state import units_of
from tests.simulation.jobs import Job

if TYPE_CHECKING:
    from tests.simulation.servers import InferenceServer
    from tests.simulation.simulation_harness import World

SEEDS = 6
WHOLE_ONE_IN = 3
HELD_ONE_IN = 2
HOLD_S = 90
DEFAULT_TOKENS = 4_096
"""Default of the catalogue's models, which nobody changes here."""
SETTLE_S = 10.0
"""Nodes that were fenced have come back by then."""
SMALL_TOKENS = 50
TRIES = 5
LARGE_TOKENS = 100_000_000
AWAY_S = 45.0
"""Longer than the resume window, and shorter than a hold."""


def in_seed(seed: int) -> bool:
    """Whether a seed has such servers."""
    return seed % SEEDS == SEEDS // 2


def is_whole(world: "World", job: Job) -> bool:
    """Whether this request's answer comes as a whole."""
    return in_seed(world.seed) and job.asks and job.number % WHOLE_ONE_IN == 0


def hold_s(job: Job) -> int:
    """For how long it stays open without a stream; 0: no longer than any other."""
    return HOLD_S if job.whole and job.number // WHOLE_ONE_IN % HELD_ONE_IN == 0 else 0


async def live(server: "InferenceServer", job: Job) -> None:
    """Generate all of it at once, and say nothing until it is there. One that is held has no stream for a while."""
    world = server.world
    if not job.is_final:
        world.wrongs.append(f"{job.request_id}: the grant of a whole answer may be renewed")
    if job.hold_s:
        began = world.epochs
        job.silent = True
        if server.line is not None:
            server.line.call.break_off("the server connects anew")
        await asyncio.sleep(AWAY_S)
        world.chance.note("whole answer held")
        job.kept_hold = began == world.epochs
    else:
        await asyncio.sleep(world.chance.uniform(0.5, 5.0))
    job.output_tokens = min(job.target_tokens, job.ceiling_tokens)


async def end(world: "World") -> None:
    """When all is healed: one beside another that is larger than anything that is left, and one that is held."""
    await asyncio.sleep(SETTLE_S)
    await _begin(world, 0, SMALL_TOKENS, tries=TRIES)
    await _begin(world, 0, LARGE_TOKENS, tries=1)
    await _begin(world, HOLD_S, SMALL_TOKENS, tries=TRIES)


async def _begin(world: "World", hold_s: int, limit: int, *, tries: int) -> None:
    """Ask for a whole answer until it may begin: a node that hears of a service first may not know it soon enough."""
    for _ in range(tries):
        steady = world.people.steady
        while not (servers := [server for server in world.servers_of(steady) if server.line is not None]):  # noqa: ASYNC110
            await asyncio.sleep(1.0)
        job = world.job(steady)
        job.asks = job.whole = True
        job.strays = job.late = False
        job.hold_s, job.target_tokens, job.max_output_tokens = hold_s, SMALL_TOKENS, limit
        servers[0].begin(job)
        while not (job.begun or job.denied):  # noqa: ASYNC110  # simulated time costs nothing
            await asyncio.sleep(0.1)
        if job.begun:
            return


def check_holds(world: "World") -> None:
    """What ends within its hold, and its node with it, is never overrun, however long no stream spoke of it."""
    for job in world.jobs:
        if job.kept_hold and not job.is_lost and not job.late:
            rows = world.metering.rows(
                "SELECT coalesce(sum(overrun_tokens), 0) AS tokens FROM requests WHERE service = ? AND request_id = ?",
                job.service,
                job.request_id,
            )
            tokens = rows[0]["tokens"]
            world.check(tokens == 0, f"{job.request_id}: {tokens} tokens are overrun of an answer that was held")


@contextmanager
def watched(world: "World") -> Iterator[None]:
    """Look at every whole answer that is admitted: it is cut down only where nobody else holds what it lacks."""

    def watched_cover(node: Any, service: Any, request: Any, report: Any) -> Any:
        held = cover_whole(node, service, request, report)
        limit = DEFAULT_TOKENS if report.max_output_tokens is None else report.max_output_tokens
        is_cut = isinstance(held, HeldUnits) and request.base_output_tokens + held.output_ceiling_tokens < limit
        is_first, input_tokens = request.predecessor_part is None, report.counts.input_class
        is_payers_doing = is_cut and is_first and not _is_capped(node, service, request, input_tokens, limit)
        if is_payers_doing and (others := _held_by_others(service, request)):
            world.wrongs.append(f"{report.request_id} is cut down while others hold {others}")
        return held

    with patch.object(admission, "cover_whole", watched_cover):
        yield


def _is_capped(node: Any, service: Any, request: Any, input_tokens: int, limit_tokens: int) -> bool:
    """Whether a budget has too little for all of it, whatever others give back: then payers have no say."""
    tokens = input_tokens + limit_tokens
    for pot, offer in enforced_pots(node, service, request):
        lease = pot.leases.get(pot.key.kind)
        units = offer.units + (lease.held + lease.leased_elsewhere_units if lease is not None else 0)
        if units < units_of(pot.key.kind, tokens, request.price.dearest_nanos(tokens)):
            return True
    return False


def _held_by_others(service: Any, request: Any) -> int:
    """Units of the trial or of money that other requests of a service hold, of which this one could be paid."""
    pays = {TRIAL: service.config.trial_pays, MONEY: service.config.postpaid_pays and not request.price.is_absent}
    return sum(lease.held for kind, lease in service.leases.items() if pays.get(kind))
