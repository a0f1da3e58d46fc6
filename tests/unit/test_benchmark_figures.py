"""What the benchmark says of figures: what went wrong on either side is said, and does not count."""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.progress import Progress

from benchmarks import report
from benchmarks.accounts import PLAIN
from benchmarks.bench import Bench, Plan, Variant, older_name
from benchmarks.builds import Build
from benchmarks.cases import growth, leases, scale
from benchmarks.figures import Figure
from benchmarks.job import Result
from benchmarks.markdown import as_markdown
from benchmarks.targets import Database, Postgres, Target

NOWHERE = Target([], [], [])
FAILED = Result(failure="it hung")


class Played(Bench):
    """A run that measures nothing: each variant gets the results that are given for it, by its name."""

    def __init__(self, **results: Sequence[Result]) -> None:
        plan = Plan(rounds=1, seconds=1.0, quick=True, only=re.compile(""))
        super().__init__(plan, Path(), Postgres(AsyncExitStack()), Progress(disable=True))
        self._results = {name: iter(each) for name, each in results.items()}

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
        yield NOWHERE

    async def attempt(self, variant: Variant) -> Result:
        return next(self._results[variant.name])


@pytest.mark.parametrize(
    ("ceiling", "said"),
    [
        (FAILED, "the ceiling failed: it hung"),
        (Result(rate=9, denials={"SUSPENDED": 3}), "the ceiling does not count: 3 reports were denied"),
        (Result(rate=9, durable_lag_s=2.0), "the ceiling does not count: records 2.0 s behind at the end"),
    ],
)
async def test_nothing_counts_beside_a_ceiling_that_does_not(ceiling: Result, said: str) -> None:
    """A ratio to nothing is no ratio, and where less is better it would even be the best."""
    bench = Played(top=[ceiling], own=[Result(rate=4, latency_ms={"p99": 1.0})])
    variants = Variant("top", NOWHERE, {}), Variant("own", NOWHERE, {}, "top", at_least=0.1)
    results = await bench.compare("case", variants)
    bench.latencies("case", "own", results["own"], results["top"], point="p99", goal=(3.0, None))

    top, *figures = bench.figures
    assert not top.counts
    assert [(figure.counts, figure.reached, figure.notes) for figure in figures] == [(False, False, [said])] * 2


async def _waiting(full: Result, half: Result) -> Figure | None:
    name = "authorisations answered out of turn, half load"
    bench = Played(**{"full rate": [full], name: [half]})
    await leases._waiting(bench)
    assert bool(bench.remarks) == (not bench.figures)
    return bench.figures[-1] if bench.figures else None


async def test_that_nobody_waited_is_said_of_what_was_measured_only() -> None:
    """None of none is not a small share."""
    figure = await _waiting(Result(rate=10), FAILED)
    assert figure is not None
    assert (figure.counts, figure.reached) == (False, False)
    assert "failed: it hung" in figure.notes

    assert await _waiting(FAILED, FAILED) is None


async def test_a_load_that_was_less_than_it_should_have_been_does_not_count() -> None:
    """Who is asked less than was planned lets nobody wait."""
    figure = await _waiting(Result(rate=10), Result(rate=4, authorisations=1_000))
    assert figure is not None
    assert (figure.reached, figure.notes) == (False, ["does not count: 80% of the schedule was kept"])

    figure = await _waiting(Result(rate=10), Result(rate=5, authorisations=1_000))
    assert figure is not None
    assert (figure.reached, figure.notes) == (True, [])


@pytest.mark.parametrize(
    ("trivial", "counts", "said"),
    [(1.8, True, []), (1.02, False, ["gained only 1.02 times"]), (0.0, False, ["it hung", "gained only 0.00 times"])],
)
def test_a_second_worker_without_a_processor_is_no_measurement(trivial: float, counts: bool, said: list[str]) -> None:
    """Where a second trivial process gains nothing either, what is left is noise."""
    rates = {scale.ONE: 100.0, scale.TWO: 170.0, scale.TRIVIAL_ONE: 100.0, scale.TRIVIAL_TWO: trivial * 100}
    results = {name: [Result(rate=rate) if rate else FAILED] for name, rate in rates.items()}
    figure = scale._gain(results)

    assert figure.samples == [1.7]
    assert figure.reached is figure.counts is counts
    assert len(figure.notes) == len(said)
    assert all(words in note for words, note in zip(said, figure.notes, strict=True))


async def test_an_older_build_is_measured_beside_and_held_against() -> None:
    """Each round has both; the older one's figure is this one's ceiling, and nobody's figure by itself."""
    older = replace(NOWHERE, build=Build(Path("older"), "python", "abc1234", compiled=False))
    target = replace(NOWHERE, older=older)
    before = [Result(rate=4, latency_ms={"p99": 2.0})]
    bench = Played(**{"own": [Result(rate=12, latency_ms={"p99": 1.0})], older_name("own"): before})
    bench.against = older.build
    results = await bench.compare("case", [Variant("own", target, {}, gain=2.5, gain_aim=3.5)])
    bench.latencies("case", "own", results["own"], [], point="p99", older=results[older_name("own")])

    assert [(each.name, each.ratio, each.at_least, each.aim) for each in bench.figures] == [
        ("own", None, None, None),
        ("own; against abc1234", 3.0, 2.5, 3.5),
        ("own, p99", None, None, None),
        ("own, p99; against abc1234", 0.5, None, None),
    ]


async def test_an_older_build_that_failed_is_held_against_nobody() -> None:
    """Its figure would be 0, and ours as many times that as one likes."""
    target = replace(NOWHERE, older=NOWHERE)
    bench = Played(own=[Result(rate=12)], **{older_name("own"): [FAILED]})
    await bench.compare("case", [Variant("own", target, {}, gain=0.0)])

    assert [(each.counts, each.reached, each.notes) for each in bench.figures] == [
        (True, None, []),
        (False, False, ["the ceiling failed: it hung"]),
    ]


def test_an_older_build_is_given_what_it_knows_in_place_of_what_it_does_not() -> None:
    """Columns are held against its reports."""
    columns = Variant("own", replace(NOWHERE, older=NOWHERE), {"mix": "columns"}, older_job={"mix": "progress"})
    older = columns.of_older()
    assert older is not None
    assert older.job == {"mix": "progress"}
    assert replace(columns, target=NOWHERE).of_older() is None


async def test_a_run_is_read_again_as_markdown() -> None:
    """Its file has all that the table says: of what it is, figures, and what is said against them."""
    bench = Played(top=[Result(rate=2_000)], own=[Result(rate=1_000)], late=[FAILED])
    top = Variant("top", NOWHERE, {})
    own = Variant("own", NOWHERE, {}, "top", at_least=0.5, aim=0.75, requests_each=0.1)
    await bench.compare("case", [top, own])
    late = await bench.compare("other", [Variant("late", NOWHERE, {})], keep=False)
    bench.latencies("other", "late", late["late"], [], point="p99", goal=(3.0, 1.5))
    run = {**report.as_json(bench, ["The books disagree."]), "time": "2026-01-02T03:04:05Z", "commit": "abc1234"}

    about, _, *table = as_markdown(json.loads(json.dumps(run))).splitlines()
    assert about.startswith("2026-01-02, commit abc1234; rounds: 1, of 1 s; ")
    assert about.endswith("**This run is invalid.**")
    assert table == [
        "| what | median |  | requests/s | spread | ceiling | ratio | goal | counts |",
        "| --- | --: | --- | --: | --: | --: | --: | --- | --- |",
        "| **case** |  |  |  |  |  |  |  |  |",
        "| top | 2,000 | reports/s |  | 0% |  |  |  | yes |",
        "| own | 1,000 | reports/s | 100 | 0% | 2,000 | 0.50 | > 0.5, 0.75 | yes |",
        "| **other** |  |  |  |  |  |  |  |  |",
        "| late, p99 | 0 | ms |  | 0% |  |  | **< 3, 1.5** | no |",
        "",
        "- The books disagree.",
        "- other, late, p99: failed: it hung",
    ]


async def test_memory_of_services_is_named_for_what_they_have() -> None:
    """The goal is of a service that is merely known; what a lease takes, and what failed, is not held to it."""
    one, many = (Result(server_rss_before_bytes=1_024, server_rss_open_bytes=size * 1_024) for size in (201, 501))
    known = Result(rate=20, server_rss_before_bytes=1_024, server_rss_open_bytes=51 * 1_024)
    name = "memory per known service without a lease"
    bench = Played(**{name: [known, FAILED]})
    growth._memory(bench, {"one": [one], "many": [many]}, "one", "many", 100)
    await growth._known(bench, 100)
    await growth._known(bench, 100)

    assert [(figure.name, figure.value, figure.at_least, figure.counts) for figure in bench.figures] == [
        ("memory per open request", 2.0, 1.2, True),
        ("memory per service with a lease, beside its open request", 3.0, None, True),
        (name, 0.5, 1.0, True),
        ("100 services learned", 20.0, None, True),
        (name, 0.0, 1.0, False),
        ("100 services learned", 0.0, None, False),
    ]
