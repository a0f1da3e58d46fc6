"""What `tallygate proxy` costs: to the first chunk and for each one, beside its upstream alone and LiteLLM's proxy."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.bench import Bench
from benchmarks.envoy_load import INPUT_TOKENS, Pace, Seen, all_streams, stream, upstream
from benchmarks.figures import Figure
from benchmarks.job import Result
from benchmarks.processor import processor_s
from tests.harness.programs.litellm_proxy import LITELLM, litellm_alone
from tests.harness.programs.programs import Code

ALONE, OURS, THEIRS = "the upstream alone", "Tallygate", "LiteLLM"
FIRST_MAX_MS: Final = 1.5
CHUNK_MAX_US: Final = 500.0
"""Processor for a chunk that makes 2,000 chunks a second on a core."""
TIMES_MIN: Final = 5.0
REST_S: Final = 0.01
"""Time between two of them."""
ONE_BY_ONE: Final = 100
"""Number of requests, one after the other, by which the first chunk is timed."""
PACE: Final = Pace(streams=50, chunks=150, interval_s=0.1)
SLOWER: Final = Pace(streams=10, chunks=150, interval_s=0.1)
"""Load of LiteLLM, which would not keep up with the other one."""
NAME: Final = f"{PACE.streams} streams, {PACE.streams / PACE.interval_s:,.0f} chunks/s"


class Round(NamedTuple):
    """What one round has measured: until the first chunk, and processor for a chunk, a request, a further chunk."""

    first_ms: float
    chunk_us: float
    request_us: float
    further_us: float


async def run(bench: Bench) -> None:
    """Upstream, proxy and LiteLLM in turn, in each round; LiteLLM only where `make test-litellm` has installed it."""
    if not bench.plan.only.search(NAME):
        return
    paces = dict.fromkeys((ALONE, OURS), PACE) | ({THEIRS: SLOWER} if LITELLM.exists() else {})
    if bench.plan.quick:
        paces = dict.fromkeys(paces, Pace(5, 5, 0.05))
    if THEIRS not in paces:
        bench.remarks.append("LiteLLM is not there to be measured beside the proxy: run `make test-litellm`.")
    one_by_one = 10 if bench.plan.quick else ONE_BY_ONE
    rounds: dict[str, list[Round]] = {name: [] for name in paces}
    told = Result()
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(bench.real("sqlite"))
        ports: dict[str, dict[str, tuple[int, int]]] = {}
        for name, pace in paces.items():
            ports[name] = {}
            for load, of in (("paced", pace), ("short", Pace(1, 1, 0.0))):
                up = await stack.enter_async_context(upstream(of))
                settings = {
                    "TALLYGATE_METERING_ADDRESSES": target.addresses[0],
                    "TALLYGATE_SERVICE": target.services[0],
                }
                folder = bench.directory / f"{name}-{load}".replace(" ", "-")
                folder.mkdir()
                ports[name][load] = await _serve(stack, name, folder, up, settings)
        task = bench.progress.add_task("proxy", total=bench.plan.rounds * len(paces))
        for _ in range(bench.plan.rounds):
            for name, pace in paces.items():
                rounds[name].append(await _measure(ports[name], pace, one_by_one))
                bench.progress.advance(task)
                if name == OURS:
                    told.finished_requests += one_by_one + pace.streams
                    told.finished_tokens += one_by_one * (INPUT_TOKENS + 1)
                    told.finished_tokens += pace.streams * (INPUT_TOKENS + pace.chunks)
        bench.measured[target.control].append(told)
    bench.figures += _figures(rounds)


async def _measure(ports: Mapping[str, tuple[int, int]], pace: Pace, one_by_one: int) -> Round:
    """One round of requests one by one, which have one chunk each, and of streams at once."""
    alone = Seen()
    port, pid = ports["short"]
    before_s = _used_s(pid)
    for _ in range(one_by_one):
        await stream(port, alone)
        # The end of the one before is not what the next one waits for.
        await asyncio.sleep(REST_S)
    request_s = (_used_s(pid) - before_s) / one_by_one
    port, pid = ports["paced"]
    before_s = _used_s(pid)
    seen = await all_streams(port, pace)
    used_s, chunks = _used_s(pid) - before_s, len(seen.chunk_ms)
    further_s = (used_s - request_s * pace.streams) / (chunks - pace.streams)
    return Round(median(alone.first_ms), used_s / chunks * 1e6, request_s * 1e6, further_s * 1e6)


def _used_s(pid: int) -> float:
    return processor_s(pid) if pid else 0.0


def _figures(rounds: Mapping[str, list[Round]]) -> list[Figure]:
    first = {name: [each.first_ms for each in measured] for name, measured in rounds.items()}
    chunk_us = {name: [each.chunk_us for each in measured] for name, measured in rounds.items()}
    figures = []
    for name in [name for name in first if name != ALONE]:
        more = [own - alone for own, alone in zip(first[name], first[ALONE], strict=True)]
        figure = Figure("proxy", f"first chunk by {name}, more than alone", "ms", more, lower_is_better=True)
        figure.at_least = FIRST_MAX_MS if name == OURS else None
        figure.notes.append(
            f"median of {ONE_BY_ONE} requests, one after the other; alone {median(first[ALONE]):.1f} ms"
        )
        figures.append(figure)
    own = Figure("proxy", f"{NAME}, processor for each", "us", chunk_us[OURS], lower_is_better=True)
    own.at_least = CHUNK_MAX_US
    own.notes.append("opening and recording its request included")
    request = [each.request_us for each in rounds[OURS]]
    further = [each.further_us for each in rounds[OURS]]
    figures += [
        own,
        Figure("proxy", "processor for a request of one chunk", "us", request, lower_is_better=True),
        Figure("proxy", f"{NAME}, processor for each but a request's first", "us", further, lower_is_better=True),
    ]
    if THEIRS in chunk_us:
        ours, theirs = ([1e6 / us for us in chunk_us[name]] for name in (OURS, THEIRS))
        figure = Figure("proxy", "chunks for each second of a core, beside LiteLLM's", "chunks/s", ours, theirs)
        figure.at_least = TIMES_MIN
        figure.notes.append(f"LiteLLM at {SLOWER.streams / SLOWER.interval_s:,.0f} chunks/s, without metering")
        figures.append(figure)
    return figures


async def _serve(
    stack: AsyncExitStack, name: str, folder: Path, upstream_port: int, settings: Mapping[str, str]
) -> tuple[int, int]:
    """A port that leads to the upstream, and the process that it is of; 0 for the upstream itself."""
    if name == ALONE:
        return upstream_port, 0
    url = f"http://127.0.0.1:{upstream_port}"
    if name == OURS:
        return await stack.enter_async_context(_proxy(folder, url, settings))
    return await stack.enter_async_context(litellm_alone(folder, url))


@asynccontextmanager
async def _proxy(folder: Path, upstream_url: str, settings: Mapping[str, str]) -> AsyncIterator[tuple[int, int]]:
    with (folder / "proxy.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tallygate.cli", "proxy", "--upstream", upstream_url, "--listen", "127.0.0.1:0"),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**Code().environment, **settings, "TALLYGATE_CONFIG_DIR": os.devnull},
        )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        yield int(line.rpartition(":")[2]), process.pid
    finally:
        process.terminate()
        await process.wait()
