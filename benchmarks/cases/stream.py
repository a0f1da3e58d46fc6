"""Reports a second on the Meter stream, full semantics, durable recording on."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from benchmarks.bench import Bench, Variant, in_turn
from benchmarks.targets import DATABASES, LABELS
from benchmarks.workload import PROGRESS_REPORTS

SIZES = (1, 16, 64, 256, 1_024)
MIXES = {
    "progress": "progress",
    "any order": "progress, any order",
    "life": "authorise+8+finish",
    "finishes": "finishes",
}
GOALS = {("progress", 256): (0.45, 0.8), ("life", 256): (0.3, 0.6)}
GAINS = {"life": (2.0, 3.0)}
"""Multiples of an older build's figure that are asked for, and aimed at."""
REQUESTS_EACH = {"life": 1 / (PROGRESS_REPORTS + 2), "finishes": 1.0}
"""Whole requests that a report of a mix counts for."""


async def run(bench: Bench) -> None:
    """All sizes with progress only, the other mixes at 256 a message.

    Finishes of requests that nobody asked for come last, on servers of their own: where they are more than a node can
    take, what waits would be in the way of the other figures.
    """
    await _run(bench, [("progress", size) for size in SIZES] + [("any order", 256), ("life", 256)])
    await _run(bench, [("finishes", 256)])


async def _run(bench: Bench, shapes: Sequence[tuple[str, int]]) -> None:
    requests = 1_000 if bench.plan.quick else 10_000
    if not any(bench.plan.only.search(_name(shape, server)) for shape in shapes for server in LABELS):
        return
    async with AsyncExitStack() as stack:
        targets = await in_turn(stack, bench, DATABASES[:1] if bench.plan.quick else DATABASES)
        variants = []
        for mix, size in shapes:
            job = {"mix": mix, "message_size": size, "requests": requests}
            name, requests_each = _name((mix, size), "ceiling"), REQUESTS_EACH.get(mix, 0.0)
            ceiling = Variant(name, targets["ceiling"], job, requests_each=requests_each)
            gain, gain_aim = GAINS.get(mix, (None, None))
            variants.append(ceiling)
            for server in DATABASES:
                if server in targets:
                    at_least, aim = GOALS.get((mix, size), (None, None)) if server == "sqlite" else (None, None)
                    own = replace(
                        ceiling, name=_name((mix, size), server), target=targets[server], ceiling=ceiling.name
                    )
                    variants.append(replace(own, at_least=at_least, aim=aim, gain=gain, gain_aim=gain_aim))
        await bench.compare("stream", variants)


def _name(shape: tuple[str, int], server: str) -> str:
    mix, size = shape
    return f"{MIXES[mix]} {size:,}, {LABELS[server]}"
