"""What all cases share: how long and how often to measure, servers, the load generator, and what was measured."""

import asyncio
import re
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.accounts import PLAIN, booked
from benchmarks.builds import THIS, Build
from benchmarks.figures import Figure
from benchmarks.generator import generate
from benchmarks.job import CLIENT_KINDS, Job, Result
from benchmarks.judgement import judge, last_words, latency_figure, require_beside
from benchmarks.targets import Database, Postgres, Target, control_alone, real, trivial


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
    `older_job`: what an older build is asked in its place, where it does not know this job. `gain` and `gain_aim`: the
    multiple of an older build's figure that it should reach. `requests_each`: whole requests that a report counts for.
    """

    name: str
    target: Target
    job: dict[str, Any]
    ceiling: str = ""
    at_least: float | None = None
    aim: float | None = None
    unit: str = "reports/s"
    beside: "Variant | None" = None
    older_job: dict[str, Any] | None = None
    gain: float | None = None
    gain_aim: float | None = None
    requests_each: float = 0.0

    def of_older(self) -> "Variant | None":
        """The same of the older build that runs beside its target."""
        if self.target.older is None:
            return None
        return Variant(older_name(self.name), self.target.older, self.older_job or self.job, unit=self.unit)


def older_name(name: str) -> str:
    """By which `compare` has the results of the older build."""
    return f"{name}, older build"


@dataclass(eq=False)
class Bench:
    """One run. `against`: an older build, which is measured in turn with this one."""

    plan: Plan
    directory: Path
    postgres: Postgres
    progress: Progress
    against: Build | None = None
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

        @asynccontextmanager
        async def of(build: Build) -> AsyncIterator[Target]:
            told = (self.directory, database, self.postgres, options, services)
            async with real(*told, suspended=suspended, security=security, build=build) as target:
                yield target
                name = f"{database}, {build.label}" if build.label else database
                await self.reconcile(name, target)

        async with self._beside_older(of) as target:
            yield target

    @asynccontextmanager
    async def control_alone(self, database: Database, *, replicas: int = 1) -> AsyncIterator[Target]:
        """A control service that no node has spoken to yet. `replicas`: processes of it, on one database."""

        def of(build: Build) -> AbstractAsyncContextManager[Target]:
            return control_alone(self.directory, database, self.postgres, build, replicas=replicas)

        async with self._beside_older(of) as target:
            yield target

    @asynccontextmanager
    async def _beside_older(self, of: Callable[[Build], AbstractAsyncContextManager[Target]]) -> AsyncIterator[Target]:
        """This build's servers, with the older build's where there is one. An idle pair takes little processor."""
        async with AsyncExitStack() as stack:
            older = await stack.enter_async_context(of(self.against)) if self.against else None
            yield replace(await stack.enter_async_context(of(THIS)), older=older)

    async def measure(self, target: Target, **job: Any) -> Result:
        """Let the load generator do one job."""
        told: dict[str, Any] = {
            "kind": "stream",
            "services": target.services,
            "seconds": self.plan.seconds,
            "security": dict(target.security),
            **job,
        }
        whole = Job(
            addresses=target.addresses,
            server_pids=target.pids,
            run=secrets.token_hex(3),
            durable=not target.is_trivial,
            **told,
        )
        result = await generate(whole, self.directory, target.build if whole.kind in CLIENT_KINDS else THIS)
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
        own = [variant for variant in variants if variant.name in wanted]
        chosen = [each for variant in own for each in (variant, variant.of_older()) if each is not None]
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
        for variant in own if keep else ():
            self.figure(case, variant, results[variant.name], results[variant.ceiling] if variant.ceiling else [])
            self.gained(case, variant, results)
        return results

    def gained(self, case: str, variant: Variant, results: Mapping[str, list[Result]]) -> None:
        """The rate held against the older build's, where one was measured."""
        before = results.get(older_name(variant.name))
        if before:
            at_least, aim = variant.gain, variant.gain_aim
            named = replace(variant, name=self.against_older(variant.name), at_least=at_least, aim=aim)
            self.figure(case, named, results[variant.name], before)

    def against_older(self, name: str) -> str:
        """How a figure is named that is held against the older build's."""
        return f"{name}; against {self.against.label if self.against else 'nothing'}"

    def figure(self, case: str, variant: Variant, results: list[Result], ceiling: Sequence[Result]) -> Figure:
        """A rate, with all that is to be said against it."""
        rates, tops = ([result.rate for result in each] for each in (results, ceiling))
        figure = Figure(case, variant.name, variant.unit, rates, tops, variant.at_least, variant.aim)
        figure.requests_each = variant.requests_each
        figure.details = results
        judge(figure, results, ceiling)
        self.figures.append(figure)
        return figure

    def latencies(
        self,
        case: str,
        name: str,
        results: list[Result],
        ceiling: Sequence[Result],
        *,
        point: str,
        goal: tuple[float | None, float | None] = (None, None),
        older: Sequence[Result] = (),
    ) -> Figure:
        """A percentile of what was measured along with a rate. `older`: of an older build, a figure by itself."""
        named = f"{name}, {point}"
        figure = latency_figure(Figure(case, named, "ms", [], [], *goal), point, results, ceiling)
        self.figures.append(figure)
        if older:
            beside = Figure(case, self.against_older(named), "ms", [])
            self.figures.append(latency_figure(beside, point, results, older))
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


async def in_turn(stack: AsyncExitStack, bench: Bench, databases: Sequence[Database]) -> dict[str, Target]:
    """The ceiling's server and a real one for each database, all at once: idle ones cost next to nothing."""
    targets = {"ceiling": await stack.enter_async_context(bench.trivial())}
    for database in databases:
        targets[database] = await stack.enter_async_context(bench.real(database))
    return targets
