"""Calls that are all refused: with tokens that nobody was given, or without any."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import grpc

from benchmarks.job import Job, Result
from benchmarks.processor import Meter
from benchmarks.schedule import Schedule
from benchmarks.stream_load import fill
from benchmarks.unary_load import AUTHORIZE, IN_FLIGHT
from benchmarks.wire import Cutter, unary
from benchmarks.workload import Asked
from tallygate._access.token_text import ID_BYTES, SECRET_BYTES, token_id_of, token_text
from tallygate._channel import open_aio_channel
from tallygate._security import Security
from tallygate._wire.failures import decode_failure

WHO_AM_I: Final = "/tallygate.control.v1.AccessService/WhoAmI"
MISSING: Final = "CREDENTIAL_MISSING"
WRONG: Final = "CREDENTIAL_INVALID"
UNVERIFIED: Final = "CREDENTIAL_UNVERIFIED"
"""Reason of a node that could not ask control in time: that is no right answer, and lets nobody in either."""
LET_IN: Final = "nothing: it was let in"
SETTLING_S: Final = 1.5
"""Time after the last call: servers write once a second whom they refused, and that is part of what guesses cost."""

GUESSERS: Final = 2_000
"""Number of calls on the way at once, where they are on schedule: who guesses does not wait for answers."""

Metadata = tuple[tuple[str, str], ...]


def bearer(token: str) -> Metadata:
    """What a token is sent as."""
    return (("authorization", f"Bearer {token}"),)


def wrong_token() -> str:
    """A token with everything that a right one has, except that no server has ever given it out."""
    return token_text(token_id_of(secrets.token_bytes(ID_BYTES)), secrets.token_bytes(SECRET_BYTES))


def request_of(job: Job) -> bytes:
    """The message of each call: an authorisation, the same each time, or nothing."""
    if job.method != AUTHORIZE:
        return b""
    cut = Cutter(Asked(job.run, job.services).running()).cut(1)
    assert cut is not None
    return unary(cut.reports)


async def run_guess(job: Job) -> Result:
    """`reports_max` calls, each with a wrong token of its own or all without one; all must be refused as expected."""
    meters, result = [Meter([pid]) for pid in job.server_pids], Result()
    whole = Meter(job.server_pids)
    shown = [bearer(wrong_token()) if job.expected == WRONG else () for _ in range(job.reports_max)]
    async with open_aio_channel(job.addresses[0], Security(**job.security)) as channel:
        await channel.channel_ready()
        call: Any = channel.unary_unary(job.method, request_serializer=None, response_deserializer=None)
        before, each_before = whole.read(), [meter.read().server_s for meter in meters]
        answers = await _call_all(call, request_of(job), iter(shown), job)
        after = whole.read()
        await asyncio.sleep(SETTLING_S)
        each_after = [meter.read().server_s for meter in meters]
    require_all(answers, job.expected, job.reports_max if not job.rate else 1)
    fill(result, before, after, answers.total())
    result.unverified = answers[UNVERIFIED]
    result.server_rss_before_bytes = before.server_rss_bytes
    result.server_seconds = [then - first for first, then in zip(each_before, each_after, strict=True)]
    return result


async def _call_all(call: Any, request: bytes, shown: Iterator[Metadata], job: Job) -> "Counter[str]":
    """Call with each of these in turn, until the time is up; why calls were refused."""
    answers, schedule = Counter[str](), Schedule(job.rate)
    end_s = time.perf_counter() + job.seconds

    async def caller() -> None:
        for metadata in shown:
            if await schedule.turn() >= end_s:
                return
            try:
                await call(request, metadata=metadata)
                answers[LET_IN] += 1
            except grpc.aio.AioRpcError as error:
                answers[decode_failure(error).reason or error.code().name] += 1

    await asyncio.gather(*(caller() for _ in range(GUESSERS if job.rate else IN_FLIGHT)))
    return answers


def require_all(answers: "Counter[str]", expected: str, count_min: int) -> None:
    """Refuse answers that were others than expected, or too few. Raises RuntimeError."""
    allowed = {expected, UNVERIFIED} if expected == WRONG else {expected}
    others = {reason: count for reason, count in answers.items() if reason not in allowed}
    if others:
        raise RuntimeError(f"calls that should all be answered {expected} were answered {others}")
    if answers.total() < count_min:
        raise RuntimeError(f"only {answers.total():,} of {count_min:,} calls were answered in time")
