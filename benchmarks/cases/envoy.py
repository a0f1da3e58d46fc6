"""What metering costs behind a real Envoy: to the first chunk and for each one, beside a server that only echoes."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Final

import yaml

from benchmarks.bench import Bench
from benchmarks.envoy_load import INPUT_TOKENS, Pace, Seen, all_streams, stream, upstream
from benchmarks.figures import Figure
from benchmarks.job import Result
from benchmarks.processor import processor_s
from benchmarks.spread import percentiles
from tests.harness.asgi.envoy_harness import port_of, running_envoy
from tests.harness.programs.programs import Program, start

ALONE, ECHO, METERED = "Envoy alone", "an echo", "Tallygate"
FIRST_MAX_MS: Final = 3.0
CHUNK_TIMES_MAX: Final = 2.0
ONE_BY_ONE: Final = 100
"""Number of requests, one after the other, by which the first chunk is timed."""
REST_S: Final = 0.01
"""Pause between two of them."""
PACE: Final = Pace(streams=200, chunks=25, interval_s=0.2)
NAME: Final = f"{PACE.streams} streams, {PACE.streams / PACE.interval_s:,.0f} chunks/s"

Samples = dict[str, list[float]]


async def run(bench: Bench) -> None:
    """Three Envoys, in turn: idle ones cost next to nothing."""
    if not bench.plan.only.search(NAME):
        return
    pace = Pace(10, 5, 0.05) if bench.plan.quick else PACE
    one_by_one = 10 if bench.plan.quick else ONE_BY_ONE
    first: Samples = {name: [] for name in (ALONE, ECHO, METERED)}
    chunk: dict[str, list[dict[str, float]]] = {name: [] for name in first}
    processor_us: Samples = {name: [] for name in first}
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(bench.real("sqlite"))
        programs = {
            ECHO: await _start(stack, bench.directory, "benchmarks.echo", [], {}),
            METERED: await _start(
                stack,
                bench.directory,
                "tallygate.cli",
                ["envoy", "--listen", "127.0.0.1:0"],
                {"TALLYGATE_METERING_ADDRESSES": target.addresses[0], "TALLYGATE_SERVICE": target.services[0]},
            ),
        }
        paced = await stack.enter_async_context(upstream(pace))
        short = await stack.enter_async_context(upstream(Pace(1, 1, 0.0)))
        envoys = {name: [await _envoy(stack, bench, name, programs, port) for port in (short, paced)] for name in first}
        task = bench.progress.add_task("envoy", total=bench.plan.rounds * len(first))
        told = Result()
        for _ in range(bench.plan.rounds):
            for name, (short_port, paced_port) in envoys.items():
                alone = Seen()
                for _ in range(one_by_one):
                    await stream(short_port, alone)
                    # The end of the one before is not what the next one waits for.
                    await asyncio.sleep(REST_S)
                first[name].append(median(alone.first_ms))
                before_s = processor_s(programs[name].pid) if name in programs else 0.0
                seen = await all_streams(paced_port, pace)
                used_s = processor_s(programs[name].pid) - before_s if name in programs else 0.0
                chunk[name].append(percentiles(seen.chunk_ms))
                processor_us[name].append(used_s / len(seen.chunk_ms) * 1e6)
                bench.progress.advance(task)
                if name == METERED:
                    told.finished_requests += one_by_one + pace.streams
                    told.finished_tokens += one_by_one * (INPUT_TOKENS + 1)
                    told.finished_tokens += pace.streams * (INPUT_TOKENS + pace.chunks)
        bench.measured[target.control].append(told)
    bench.figures += _figures(first, chunk, processor_us)


def _figures(first: Samples, chunk: Mapping[str, list[dict[str, float]]], processor_us: Samples) -> list[Figure]:
    figures = []
    for name in (ECHO, METERED):
        more = [own - alone for own, alone in zip(first[name], first[ALONE], strict=True)]
        figure = Figure("envoy", f"first chunk by {name}, more than alone", "ms", more, lower_is_better=True)
        figure.at_least = FIRST_MAX_MS if name == METERED else None
        figure.notes.append(
            f"median of {ONE_BY_ONE} requests, one after the other; alone {median(first[ALONE]):.1f} ms"
        )
        figures.append(figure)
    for point in ("p50", "p99"):
        of = {name: [each[point] for each in rounds] for name, rounds in chunk.items()}
        for name, ceiling in ((ALONE, []), (ECHO, of[ALONE]), (METERED, of[ECHO])):
            figure = Figure("envoy", f"{NAME}, {name}, {point}", "ms", of[name], ceiling, lower_is_better=True)
            figure.at_least = CHUNK_TIMES_MAX if (name, point) == (METERED, "p50") else None
            figures.append(figure)
    own = Figure("envoy", f"{NAME}, processor for each", "us", processor_us[METERED], processor_us[ECHO])
    own.lower_is_better = True
    return [*figures, own]


async def _start(
    stack: AsyncExitStack, directory: Path, module: str, arguments: list[str], settings: Mapping[str, str]
) -> Program:
    program = await start(module, arguments, directory / f"{module}.log", settings=settings)
    stack.push_async_callback(program.kill)
    return program


async def _envoy(
    stack: AsyncExitStack, bench: Bench, name: str, programs: Mapping[str, Program], upstream_port: int
) -> int:
    """An Envoy in front of that upstream, by the sample's file; without its filter where none is asked."""
    folder = bench.directory / f"envoy-{name}-{upstream_port}"
    folder.mkdir()
    asked = port_of(programs[name].address) if name in programs else 1
    change = _unfiltered if name == ALONE else str
    url = await stack.enter_async_context(running_envoy(folder, upstream=upstream_port, tallygate=asked, change=change))
    return port_of(url)


def _unfiltered(text: str) -> str:
    config = yaml.safe_load(text)
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    del chain["filters"][0]["typed_config"]["http_filters"][0]
    return yaml.safe_dump(config)
