"""A rule of so many tokens a minute under steady overload, by the real clock, on one node and on three."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.accounts import SERVICE
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.guarded_targets import Guarded, Shape, guarded
from benchmarks.job import Result
from benchmarks.targets import Target
from tallygate._channel import open_aio_channel
from tallygate._security import Security
from tallygate.control.v1 import limit_config_pb2, limit_service_pb2, limit_service_pb2_grpc
from tallygate.metering.v1 import decision_pb2, metering_service_pb2_grpc, report_pb2, token_usage_pb2
from tallygate.metering.v1 import metering_service_pb2 as pb

TOKENS_PER_MINUTE: Final = 60_000
BURST_TOKENS: Final = 6_000
REQUEST_TOKENS: Final = 40
OVERLOAD: Final = 3.0
"""Requests that are made, as a multiple of those that the rule lets pass."""
WARM_UP_S: Final = 15.0
"""Time until the burst is spent."""
MINUTE_S: Final = 60.0
ERROR_MAX: Final = 0.01
CALLERS: Final = 12
"""Callers on each node; each makes its requests one after the other."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Of one caller: a name that no other has, the time between two requests, and when it ends."""

    caller: str
    pause_s: float
    end_s: float


@dataclass(slots=True)
class Passed:
    """Moments at which requests were allowed, by the monotonic clock, in order of their answers."""

    moments_s: list[float] = field(default_factory=list)

    def tokens_between(self, begin_s: float, end_s: float) -> int:
        """Tokens of the requests that were allowed in that time."""
        return REQUEST_TOKENS * sum(begin_s <= moment < end_s for moment in self.moments_s)

    def most_in_a_minute(self) -> int:
        """Most tokens in any 60 s: such a time may begin with any request."""
        ordered, first, most = sorted(self.moments_s), 0, 0
        for last, moment in enumerate(ordered):
            while moment - ordered[first] >= MINUTE_S:
                first += 1
            most = max(most, last - first + 1)
        return most * REQUEST_TOKENS


async def run(bench: Bench) -> None:
    """Three minutes on each fleet; a quick run takes one."""
    minutes = 1 if bench.plan.quick else 3
    for nodes in (1, 3):
        if not bench.plan.only.search(_names(nodes)[0]):
            continue
        async with guarded(bench, Shape(nodes=nodes)) as fleet:
            await _limit(fleet)
            passed = Passed()
            begin_s = time.monotonic()
            end_s = begin_s + WARM_UP_S + minutes * MINUTE_S
            pause_s = nodes * CALLERS * REQUEST_TOKENS * MINUTE_S / (TOKENS_PER_MINUTE * OVERLOAD)
            calls = [
                _call(node, fleet.tokens[0], Pace(f"{nodes}-{at}-{number}", pause_s, end_s), passed)
                for at, node in enumerate(fleet.nodes)
                for number in range(CALLERS)
            ]
            await asyncio.gather(*calls)
            allowed = len(passed.moments_s)
            bench.measured[fleet.node.control].append(
                Result(finished_requests=allowed, finished_tokens=allowed * REQUEST_TOKENS)
            )
        starts_s = [begin_s + WARM_UP_S + minute * MINUTE_S for minute in range(minutes)]
        shares = [passed.tokens_between(start, start + MINUTE_S) / TOKENS_PER_MINUTE for start in starts_s]
        bench.figures += rate_figures(nodes, shares, passed.most_in_a_minute())


def rate_figures(nodes: int, shares: Sequence[float], most_tokens: int) -> list[Figure]:
    """How far the worst minute was from the rule, and the most of any 60 s as a share of what it allows."""
    error_name, most_name = _names(nodes)
    error = max(abs(share - 1) for share in shares)
    most = most_tokens / (TOKENS_PER_MINUTE + BURST_TOKENS)
    return [
        Figure("rates", error_name, "of the rule", [error], [], ERROR_MAX, lower_is_better=True),
        Figure("rates", most_name, "of rule and burst", [most], [], 1.0, lower_is_better=True),
    ]


def _names(nodes: int) -> tuple[str, str]:
    on = f"{nodes} node" + ("s" if nodes > 1 else "")
    return f"tokens a minute, {on}: worst minute's error", f"tokens a minute, {on}: most in any 60 s"


async def _limit(fleet: Guarded) -> None:
    async with open_aio_channel(fleet.control.addresses[0], Security(**fleet.operator)) as channel:
        rule = limit_service_pb2.CreateRateRuleRequest(
            name=f"{SERVICE.partition('/services/')[0]}/rateRules/steady",
            place=SERVICE,
            metric=limit_config_pb2.RATE_METRIC_TOTAL_TOKENS,
            limit_units=TOKENS_PER_MINUTE,
            burst_units=BURST_TOKENS,
        )
        await limit_service_pb2_grpc.LimitServiceStub(channel).CreateRateRule(rule)


async def _call(node: Target, token: str, pace: Pace, passed: Passed) -> None:
    """Makes requests at that pace; each that is allowed uses all that it held, at once."""
    half = REQUEST_TOKENS // 2
    async with open_aio_channel(node.addresses[0], Security(token=token)) as channel:
        stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
        number, due_s = 0, time.monotonic()
        while due_s < pace.end_s:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            report = report_pb2.TokenReport(
                request_id=f"{pace.caller}-{number}",
                service=SERVICE,
                phase=report_pb2.REPORT_PHASE_AUTHORIZE,
                usage=token_usage_pb2.TokenUsage(input_tokens=half),
                max_output_tokens=half,
            )
            answer = await stub.Authorize(pb.AuthorizeRequest(report=report))
            if answer.decision.verdict == decision_pb2.VERDICT_ALLOW:
                passed.moments_s.append(time.monotonic())
                report.phase = report_pb2.REPORT_PHASE_FINISH
                report.usage.output_tokens = half
                await stub.Report(pb.ReportRequest(report=report))
            number += 1
            due_s += pace.pause_s
