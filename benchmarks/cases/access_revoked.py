"""Tokens disabled while streams of them are open: how long until each node has broken them off, and refuses calls."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Final

import grpc

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.guarded_targets import Guarded, Shape, guarded
from benchmarks.populate_access import disable, make_token
from benchmarks.targets import Target
from tallygate._channel import open_aio_channel
from tallygate._security import Security
from tallygate._wire.failures import decode_failure
from tallygate.metering.v1 import decision_pb2, metering_service_pb2_grpc, report_pb2
from tallygate.metering.v1 import metering_service_pb2 as pb

NODES: Final = 3
MEDIAN_MS, LONGEST_MS = 200.0, 1_000.0
"""Goals of the time from the call that disables a token."""
PATIENCE_S: Final = 60.0
POLL_S: Final = 0.005
REVOKED: Final = "CREDENTIAL_REVOKED"
STREAM, CALL = "revoked, open stream broken", "revoked, call refused"


class Caller:
    """An inference server: a stream to one node, and calls beside it."""

    def __init__(self, channel: grpc.aio.Channel, service: str, request_id: str) -> None:
        self._stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
        self._stream: Any = self._stub.Meter()
        self._report = report_pb2.TokenReport(
            request_id=request_id, service=service, phase=report_pb2.REPORT_PHASE_AUTHORIZE
        )

    async def open(self) -> None:
        """Authorise by call until that is allowed, and report on the stream until that is answered."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self._is_allowed():  # noqa: ASYNC110  # a node needs a moment to get a lease
                await asyncio.sleep(POLL_S)
            await self._stream.write(pb.MeterRequest(first_sequence=1, reports=[self._report]))
            answered = pb.MeterResponse()
            while answered.answered_through < 1:
                answered = await self._stream.read()
                if answered is grpc.aio.EOF:
                    raise RuntimeError("a stream ended before its token was disabled")

    async def until_broken(self) -> float:
        """The moment at which the stream was broken off. Raises RuntimeError where that was not for the token."""
        try:
            while await self._stream.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return _moment(error)
        raise RuntimeError("a stream ended without an error")

    async def until_refused(self) -> float:
        """The moment at which a call was refused. Raises RuntimeError where that was not for the token."""
        while True:
            try:
                await self._is_allowed()
            except grpc.aio.AioRpcError as error:
                return _moment(error)
            await asyncio.sleep(POLL_S)

    async def _is_allowed(self) -> bool:
        answer = await self._stub.Authorize(pb.AuthorizeRequest(report=self._report))
        return bool(answer.decision.verdict == decision_pb2.VERDICT_ALLOW)


def _moment(error: grpc.aio.AioRpcError) -> float:
    now_s = time.monotonic()
    reason = decode_failure(error).reason
    if reason != REVOKED:
        raise RuntimeError(f"a disabled token was refused as {reason or error.code().name}, not as {REVOKED}")
    return now_s


async def run(bench: Bench) -> None:
    """So many tokens, one after the other; each has a stream open on each node."""
    names = [f"{what}, {which}" for what in (STREAM, CALL) for which in ("median", "longest")]
    if not any(bench.plan.only.search(name) for name in names):
        return
    turns = 3 if bench.plan.quick else 20
    task = bench.progress.add_task("access: revocation", total=turns)
    broken_ms: list[float] = []
    refused_ms: list[float] = []
    async with guarded(bench, Shape(nodes=NODES)) as fleet:
        for turn in range(turns):
            streams, calls = await _revoke(fleet, turn)
            broken_ms += streams
            refused_ms += calls
            bench.progress.advance(task)
    for what, samples in ((STREAM, broken_ms), (CALL, refused_ms)):
        bench.figures += revoked_figures(what, samples, NODES * turns)


async def _revoke(fleet: Guarded, turn: int) -> tuple[list[float], list[float]]:
    """How many milliseconds after the call that disabled it a token opened nothing on each node."""
    token = await make_token(fleet.control.addresses[0], fleet.operator)
    channels = [_channel(node, token.secret) for node in fleet.nodes]
    try:
        callers = [
            Caller(channel, node.services[0], f"turn-{turn}-{number}")
            for number, (channel, node) in enumerate(zip(channels, fleet.nodes, strict=True))
        ]
        await asyncio.gather(*(caller.open() for caller in callers))
        ends: list[Awaitable[float]] = [each.until_broken() for each in callers]
        ends += [each.until_refused() for each in callers]
        waiting = asyncio.gather(*ends)
        await asyncio.sleep(0)
        since_s = time.monotonic()
        await disable(fleet.control.addresses[0], fleet.operator, token.name)
        async with asyncio.timeout(PATIENCE_S):
            times_ms = [(moment_s - since_s) * 1_000 for moment_s in await waiting]
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))
    if min(times_ms) < 0:
        raise RuntimeError("a token opened nothing before it was disabled")
    return times_ms[: len(callers)], times_ms[len(callers) :]


def _channel(node: Target, token: str) -> grpc.aio.Channel:
    return open_aio_channel(node.addresses[0], Security(token=token))


def revoked_figures(
    what: str, samples: Sequence[float], expected: int, case: str = "access", longest_ms: float = LONGEST_MS
) -> list[Figure]:
    """The median and the longest; neither counts where some are missing."""
    figures = [
        Figure(case, f"{what}, median", "ms", list(samples) or [0.0], [], MEDIAN_MS, lower_is_better=True),
        Figure(case, f"{what}, longest", "ms", [max(samples, default=0.0)], [], longest_ms, lower_is_better=True),
    ]
    for figure in figures:
        if len(samples) == expected:
            figure.notes.append(f"of {expected} measurements")
        else:
            figure.invalid(f"does not count: {len(samples)} of {expected} measurements were made")
    return figures
