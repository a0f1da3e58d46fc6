"""What all cases share: how long and how often to measure, servers, the load generator, and what was measured."""

import asyncio
import re
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.accounts import PLAIN, booked
from benchmarks.figures import Figure
from benchmarks.generator import generate
from benchmarks.job import Job, Result
from benchmarks.targets import Database, Postgres, Target, real, trivial

DURABLE_LAG_MAX_S = 1.0
WORTH_A_WORD = 0.01
KEPT = 0.9
"""Of a schedule, at the least."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`rounds` of `seconds` each; `only`: measure what matches; `quick`: small numbers, to see that all works."""

    rounds: int
    seconds: float
    quick: bool
    only: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Variant:
    """A figure that is measured in each round, by this job. `ceiling`: the name of the variant that it is held against.

    `at_least` and `aim`: the share of the ceiling that it should reach. `beside`: another load for all of that time.
    """

    name: str
    target: Target
    job: dict[str, Any]
    ceiling: str = ""
    at_least: float | None = None
    aim: float | None = None
    unit: str = "reports/s"
    beside: "Variant | None" = None


@dataclass(eq=False)
class Bench:
    """One run."""

    plan: Plan
    directory: Path
    postgres: Postgres
    progress: Progress
    figures: list[Figure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    measured: dict[str, list[Result]] = field(default_factory=lambda: defaultdict(list))
    failed: list[str] = field(default_factory=list)
    unreconciled: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def trivial(self) -> AsyncIterator[Target]:
        """The ceiling's server."""
        async with trivial(self.directory) as target:
            yield target

    @asynccontextmanager
    async def real(
        self,
        database: Database,
        options: Sequence[str] = (),
        services: int = 1,
        *,
        suspended: bool = False,
        security: Mapping[str, str] = PLAIN,
    ) -> AsyncIterator[Target]:
        """Both services; when they are left, what they recorded is compared with what they were told."""
        async with real(
            self.directory, database, self.postgres, options, services, suspended=suspended, security=security
        ) as target:
            yield target
            await self.reconcile(database, target)

    async def measure(self, target: Target, **job: Any) -> Result:
        """Let the load generator do one job."""
        told: dict[str, Any] = {
            "kind": "stream",
            "services": target.services,
            "seconds": self.plan.seconds,
            "security": dict(target.security),
            **job,
        }
        result = await generate(
            Job(
                addresses=target.addresses,
                server_pids=target.pids,
                run=secrets.token_hex(3),
                durable=not target.is_trivial,
                **told,
            )
        )
        self.measured[target.control].append(result)
        return result

    async def attempt(self, variant: Variant) -> Result:
        """A measurement that fails costs its own figure, not the run."""
        try:
            if variant.beside is not None:
                return await self._beside(variant, variant.beside)
            return await self.measure(variant.target, **variant.job)
        except (RuntimeError, TimeoutError) as error:
            self.progress.console.print(f"{variant.name}: {error}", style="red", markup=False)
            failure = Result(failure=last_words(error))
            self.measured[variant.target.control].append(failure)
            return failure

    async def _beside(self, variant: Variant, other: Variant) -> Result:
        """A measurement while another load runs. Raises RuntimeError where that was not the load that was meant."""
        task = asyncio.create_task(self.measure(other.target, **other.job))
        try:
            result = await self.measure(variant.target, **variant.job)
            other_result = await task
            require_beside(result, other_result, other.job["rate"])
            result.unverified = other_result.unverified
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return result

    async def compare(self, case: str, variants: Sequence[Variant], *, keep: bool = True) -> dict[str, list[Result]]:
        """Measure them in turn, round by round, so that what else the machine does meets them all; keep the rates.

        What failed once is not tried again: what makes it fail usually takes its time.
        """
        wanted = {each.name for each in variants if case == "ceiling" or self.plan.only.search(each.name)}
        wanted |= {variant.ceiling for variant in variants if variant.name in wanted}
        chosen = [variant for variant in variants if variant.name in wanted]
        results: dict[str, list[Result]] = {variant.name: [] for variant in chosen}
        task = self.progress.add_task(case, total=self.plan.rounds * len(chosen))
        for round_number in range(self.plan.rounds):
            for variant in chosen if round_number % 2 == 0 else reversed(chosen):
                self.progress.update(task, description=f"{case}: {variant.name}")
                before = results[variant.name][-1:]
                again = not before or not before[0].failure
                results[variant.name].append(await self.attempt(variant) if again else before[0])
                self.progress.advance(task)
        self.progress.update(task, description=case)
        for variant in chosen if keep else ():
            self.figure(case, variant, results[variant.name], results[variant.ceiling] if variant.ceiling else [])
        return results

    def figure(self, case: str, variant: Variant, results: list[Result], ceiling: Sequence[Result]) -> Figure:
        """A rate, with all that is to be said against it."""
        rates, tops = ([result.rate for result in each] for each in (results, ceiling))
        figure = Figure(case, variant.name, variant.unit, rates, tops, variant.at_least, variant.aim)
        figure.details = results
        judge(figure, results, ceiling)
        self.figures.append(figure)
        return figure

    def latencies(
        self,
        case: str,
        name: str,
        results: list[Result],
        ceiling: list[Result],
        *,
        point: str,
        goal: tuple[float | None, float | None] = (None, None),
    ) -> Figure:
        """A percentile of what was measured along with a rate."""
        samples = [result.latency_ms.get(point, 0.0) for result in results]
        tops = [result.latency_ms.get(point, 0.0) for result in ceiling]
        figure = Figure(case, f"{name}, {point}", "ms", samples, tops, *goal, lower_is_better=True)
        figure.details = results
        judge(figure, results, ceiling)
        self.figures.append(figure)
        return figure

    async def reconcile(self, name: str, target: Target) -> None:
        """Compare what is on record with what was finished, before a server is left."""
        results = self.measured.pop(target.control, [])
        if any(result.failure for result in results):
            return
        said = sum(each.finished_requests for each in results), sum(each.finished_tokens for each in results)
        recorded = await booked(target.addresses[0], target.reader)
        if recorded != said:
            self.unreconciled.append(
                f"{name}: {said[0]:,} requests of {said[1]:,} tokens were finished, "
                f"{recorded[0]:,} of {recorded[1]:,} are on record."
            )


def judge(figure: Figure, results: Sequence[Result], ceiling: Sequence[Result] = ()) -> None:
    """Say what is to be said against a figure, and whether it counts: nothing does beside a ceiling that does not."""
    for why in _against(results):
        figure.invalid(why)
    for why in _against(ceiling):
        figure.invalid(f"the ceiling {why}")
    if any(result.generator_was_bottleneck for result in results):
        figure.notes.append("the load generator was the bottleneck")
    unverified = sum(result.unverified for result in results)
    if unverified:
        figure.notes.append(
            f"{unverified:,} wrong tokens were answered CREDENTIAL_UNVERIFIED: control was not asked, or not in time"
        )
    held_back = max(result.held_back for result in results)
    if held_back > WORTH_A_WORD:
        figure.notes.append(f"waited {held_back:.0%} of the time for records")


def last_words(error: Exception) -> str:
    """The last line of an error that says something; of a failed call its status, in place of a bracket."""
    lines = [line.strip() for line in str(error).splitlines() if any(letter.isalnum() for letter in line)]
    said = next((line for line in lines if line.startswith("status = ")), "")
    return said or (lines[-1] if lines else type(error).__name__)


def require_beside(result: Result, other: Result, rate: float) -> None:
    """Refuse a result whose other load was less than it should have been. Raises RuntimeError."""
    if other.rate < KEPT * rate:
        raise RuntimeError(f"the load beside it was {other.rate:,.0f} a second, not {rate:,.0f}")
    (begin_s, end_s), (other_begin_s, other_end_s) = result.window_s, other.window_s
    if other_begin_s > begin_s or other_end_s < end_s:
        raise RuntimeError("the load beside it began too late, or ended too early")


def judge_schedule(figure: Figure, results: Sequence[Result], rate: float) -> None:
    """Say whether a load on schedule was the load that it should have been."""
    kept = min(result.rate for result in results) / rate
    if kept < KEPT:
        figure.invalid(f"does not count: {kept:.0%} of the schedule was kept")


def _against(results: Sequence[Result]) -> Iterator[str]:
    """Why these results are not what they should be."""
    lag_s = max((result.durable_lag_s for result in results), default=0.0)
    if lag_s >= DURABLE_LAG_MAX_S:
        yield f"does not count: records {lag_s:.1f} s behind at the end"
    denied = sum(sum(result.denials.values()) for result in results)
    if denied:
        yield f"does not count: {denied:,} reports were denied"
    for failure in sorted({result.failure for result in results if result.failure}):
        yield f"failed: {failure}"


async def in_turn(stack: AsyncExitStack, bench: Bench, databases: Sequence[Database]) -> dict[str, Target]:
    """The ceiling's server and a real one for each database, all at once: idle ones cost next to nothing."""
    targets = {"ceiling": await stack.enter_async_context(bench.trivial())}
    for database in databases:
        targets[database] = await stack.enter_async_context(bench.real(database))
    return targets
