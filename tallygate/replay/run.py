"""One replay, from its first reading of the books to its last."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import grpc

from tallygate._channel import Channels
from tallygate._security import PLAIN, Security
from tallygate.client import MeteringClient, Unreachable
from tallygate.replay.books import BookReader, Books, figures_of
from tallygate.replay.figures import Figures
from tallygate.replay.outcome import Outcome
from tallygate.replay.pace import Pace
from tallygate.replay.reconcile import Source, differences
from tallygate.replay.server import SimulatedServer
from tallygate.replay.tally import Tally
from tallygate.replay.trace import Trace

_Read = TypeVar("_Read")
_REST_TIMEOUT_S = 45
"""Timeout until the books are at rest: what a dead node left is booked after 30 s."""
_POLL_S = 0.25
_PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_IN_FLIGHT = 8
_IN_FLIGHT_MIN = 4


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """Plan of a replay: the service, the nodes and the pace.

    `speed` None is as fast as possible; `run_id` is the prefix of every request's id.
    """

    service: str
    control: str
    metering: Sequence[str]
    run_id: str
    servers: int = 1
    speed: int | None = None
    report_every: int = 50
    security: Security = PLAIN


async def replay(trace: Trace, plan: ReplayPlan, tally: Tally, progress: Callable[[str], None]) -> Outcome:
    """Runs the workload and reconciles the books; `tally` has the counts so far, and `progress` gets each step.

    Nothing else should use the service at the same time: its additions to the books show as differences.
    Raises grpc.aio.AioRpcError where a service does not answer.
    """
    tally.requests = len(trace)
    async with BookReader(
        Channels(plan.security), control=plan.control, metering=plan.metering, service=plan.service
    ) as reader:
        progress("reading the books")
        before = await _at_rest(reader)
        progress("replaying")
        started_ns = time.monotonic_ns()
        await _serve(trace, plan, tally)
        wall_ns = time.monotonic_ns() - started_ns
        progress("reconciling")
        return await _reconcile(reader, plan, tally, before, wall_ns)


async def _serve(trace: Trace, plan: ReplayPlan, tally: Tally) -> None:
    pace = Pace(plan.speed, time.monotonic_ns)
    in_flight = max(_IN_FLIGHT_MIN, _IN_FLIGHT // plan.servers)

    async def serve(number: int) -> None:
        nodes = [plan.metering[(number + turn) % len(plan.metering)] for turn in range(len(plan.metering))]
        client = MeteringClient(nodes, security=plan.security)
        server = SimulatedServer(
            client,
            service=plan.service,
            run_id=plan.run_id,
            report_every=plan.report_every,
            pace=pace,
            tally=tally,
        )
        # What did not become durable shows as a difference.
        with contextlib.suppress(Unreachable):
            async with client:
                await server.run(trace.rows(number, plan.servers), in_flight=in_flight)
        tally.reports += client.reports_sent
        tally.disconnects += client.disconnects

    async with asyncio.TaskGroup() as group:
        for number in range(plan.servers):
            group.create_task(serve(number))


async def _at_rest(reader: BookReader) -> Books:
    """The books once two readings in a row are the same and nothing runs, or after the timeout as they are."""
    books = await reader.read()
    deadline = time.monotonic() + _REST_TIMEOUT_S
    while time.monotonic() < deadline:
        await asyncio.sleep(_POLL_S)
        again = await reader.read()
        if again == books and not books.running and not books.held:
            break
        books = again
    return books


async def _reconcile(reader: BookReader, plan: ReplayPlan, tally: Tally, before: Books, wall_ns: int) -> Outcome:
    """Reads the books until everything agrees, or until the timeout."""
    deadline = time.monotonic() + _REST_TIMEOUT_S
    while True:
        after = await _answered(reader.read, deadline)
        sources = _sources(tally, before, after, records=None)
        at_rest = not (after.running or after.held or differences(sources))
        if at_rest or time.monotonic() > deadline:
            records = await _answered(partial(reader.read_records, plan.run_id, tally.withdrawn), deadline)
            sources = _sources(tally, before, after, records=records)
            return Outcome(tally, tuple(sources), tuple(differences(sources)), _unrest(tally, after), wall_ns)
        await asyncio.sleep(_POLL_S)


async def _answered(read: Callable[[], Awaitable[_Read]], deadline: float) -> _Read:
    """What is read, also where a database is about to come back: it is read again until the deadline.

    Raises grpc.aio.AioRpcError.
    """
    while True:
        try:
            return await read()
        except grpc.aio.AioRpcError as error:
            if error.code() not in _PASSING or time.monotonic() > deadline:
                raise
        await asyncio.sleep(_POLL_S)


def _unrest(tally: Tally, after: Books) -> tuple[str, ...]:
    """Sentences about everything else that is wrong."""
    found = [f"the servers gave up: {tally.gave_up}"] if tally.gave_up else []
    found += [f"{after.running} requests still run"] if after.running else []
    found += [f"{after.held} units are still held"] if after.held else []
    return (*found, *after.unbalanced)


def _sources(tally: Tally, before: Books, after: Books, *, records: Figures | None) -> list[Source]:
    sent = Figures(requests=tally.finished, input_tokens=tally.sent.input, output_tokens=tally.sent.output)
    # A request that moved has a receipt from each node, and its server has only the last one.
    receipts = Figures() if tally.disconnects else figures_of(tally.receipts)
    acknowledged = replace(
        receipts,
        requests=tally.durable,
        input_tokens=tally.acknowledged.input,
        output_tokens=tally.acknowledged.output,
    )
    return [
        Source("sent", sent),
        Source("acknowledged", acknowledged),
        *([] if records is None else [Source("records", records)]),
        Source("aggregates", after.aggregates.less(before.aggregates)),
        Source("leases", after.leases.less(before.leases)),
        Source("pots", after.pots.less(before.pots)),
        Source("ledger", after.ledger.less(before.ledger)),
    ]
