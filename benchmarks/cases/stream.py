"""Reports a second on the Meter stream, full semantics, durable recording on."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from benchmarks.bench import Bench, Variant, in_turn
from benchmarks.targets import DATABASES, LABELS
from benchmarks.workload import PROGRESS_REPORTS

SIZES = (1, 16, 64, 256, 1_024)
MIXES = {
    "progress": "progress",
    "any order": "progress, any order",
    "life": "authorise+8+finish",
    "finishes": "finishes",
    "columns": "columns",
    "columns, any order": "columns, any order",
    "columns, renewing": "columns, all renew",
}
COLUMNS = [("columns", 256), ("columns", 1_024), ("columns", 4_096), ("columns, any order", 256)]
RENEWING = "columns, renewing", 4_096
REPORTS_OF = {"columns": "progress", "columns, any order": "any order", "columns, renewing": "renewing"}
"""Mixes of reports that say the same as those of columns: what is asked of an older build."""
STREAMS = 8
GOALS = {("progress", 256): (0.45, 0.8), ("life", 256): (0.3, 0.6)}
GAINS = {
    ("life", 256): (2.0, 3.0),
    ("columns", 256): (2.5, 3.5),
    ("columns", 4_096): (8.0, 20.0),
    RENEWING: (3.0, 6.0),
}
"""Multiples of an older build's figure that are asked for, and aimed at."""
REQUESTS_EACH = {"life": 1 / (PROGRESS_REPORTS + 2), "finishes": 1.0}
"""Whole requests that a report of a mix counts for."""


async def run(bench: Bench) -> None:
    """All sizes with progress only, the other mixes at 256 a message.

    Finishes of requests that nobody asked for come last, on servers of their own: where they are more than a node can
    take, what waits would be in the way of the other figures.
    """
    await _run(bench, [("progress", size) for size in SIZES] + [("any order", 256), ("life", 256)])
    await _run(bench, [*COLUMNS, RENEWING])
    await _run(bench, [("finishes", 256)])


def _job(bench: Bench, mix: str, size: int) -> dict[str, Any]:
    """Columns hold each request once at most, so their streams have as many requests as a message has entries."""
    requests = 1_000 if bench.plan.quick else 10_000
    if mix in REPORTS_OF:
        requests = max(requests // STREAMS // size, 1) * size * STREAMS if not bench.plan.quick else requests
    kind = "renew" if (mix, size) == RENEWING else "stream"
    return {"kind": kind, "mix": mix, "message_size": size, "requests": requests, "streams": STREAMS}


async def _run(bench: Bench, shapes: Sequence[tuple[str, int]]) -> None:
    if not any(bench.plan.only.search(_name(shape, server)) for shape in shapes for server in LABELS):
        return
    async with AsyncExitStack() as stack:
        targets = await in_turn(stack, bench, DATABASES[:1] if bench.plan.quick else DATABASES)
        variants = []
        for mix, size in shapes:
            job = _job(bench, mix, size)
            older_job = {**job, "mix": REPORTS_OF[mix]} if mix in REPORTS_OF else None
            name, requests_each = _name((mix, size), "ceiling"), REQUESTS_EACH.get(mix, 0.0)
            ceiling = Variant(name, targets["ceiling"], job, requests_each=requests_each)
            gain, gain_aim = GAINS.get((mix, size), (None, None))
            variants.append(ceiling)
            for server in DATABASES:
                if server in targets:
                    at_least, aim = GOALS.get((mix, size), (None, None)) if server == "sqlite" else (None, None)
                    own = replace(
                        ceiling, name=_name((mix, size), server), target=targets[server], ceiling=ceiling.name
                    )
                    own = replace(own, older_job=older_job, gain=gain, gain_aim=gain_aim)
                    variants.append(replace(own, at_least=at_least, aim=aim))
        await bench.compare("stream", variants)


def _name(shape: tuple[str, int], server: str) -> str:
    mix, size = shape
    return f"{MIXES[mix]} {size:,}, {LABELS[server]}"
