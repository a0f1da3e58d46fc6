"""Reports a second on the Meter stream, full semantics, durable recording on."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from benchmarks.bench import Bench, Variant, in_turn
from benchmarks.targets import DATABASES, LABELS

SIZES = (1, 16, 64, 256, 1_024)
MIXES = {
    "progress": "progress",
    "any order": "progress, any order",
    "life": "authorise+8+finish",
    "finishes": "finishes",
}
GOALS = {("progress", 256): (0.45, 0.8), ("life", 256): (0.3, 0.6)}


async def run(bench: Bench) -> None:
    """All sizes with progress only, the other mixes at 256 a message.

    Finishes of requests that nobody asked for come last, on servers of their own: where they are more than a node can
    take, what waits would be in the way of the other figures.
    """
    await _run(bench, [("progress", size) for size in SIZES] + [("any order", 256), ("life", 256)])
    await _run(bench, [("finishes", 256)])


async def _run(bench: Bench, shapes: Sequence[tuple[str, int]]) -> None:
    requests = 1_000 if bench.plan.quick else 10_000
    async with AsyncExitStack() as stack:
        targets = await in_turn(stack, bench, DATABASES[:1] if bench.plan.quick else DATABASES)
        variants = []
        for mix, size in shapes:
            job = {"mix": mix, "message_size": size, "requests": requests}
            name = f"{MIXES[mix]} {size:,}, "
            goal = GOALS.get((mix, size), (None, None))
            variants.append(Variant(name + LABELS["ceiling"], targets["ceiling"], job))
            for server in DATABASES:
                if server in targets:
                    at_least, aim = goal if server == "sqlite" else (None, None)
                    variants.append(
                        Variant(name + LABELS[server], targets[server], job, name + LABELS["ceiling"], at_least, aim)
                    )
        await bench.compare("stream", variants)
