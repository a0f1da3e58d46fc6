"""Reports a second on the Meter stream, full semantics, durable recording on."""

from contextlib import AsyncExitStack

from benchmarks.bench import Bench, Variant, in_turn
from benchmarks.targets import DATABASES

SIZES = (1, 16, 64, 256, 1_024)
MIXES = {
    "progress": "progress",
    "life": "authorise+8+finish",
    "finishes": "finishes",
}
GOALS = {("progress", 256): (0.45, 0.8), ("life", 256): (0.3, 0.6)}
SERVERS = {"ceiling": "trivial", "sqlite": "SQLite", "postgresql": "PostgreSQL"}


async def run(bench: Bench) -> None:
    """All sizes with progress only; the other mixes at 256 a message."""
    requests = 1_000 if bench.plan.quick else 10_000
    async with AsyncExitStack() as stack:
        targets = await in_turn(stack, bench, DATABASES[:1] if bench.plan.quick else DATABASES)
        variants = []
        for mix, size in [("progress", size) for size in SIZES] + [("life", 256), ("finishes", 256)]:
            for server, target in targets.items():
                name = f"{MIXES[mix]} {size}, "
                goal = GOALS.get((mix, size), (None, None)) if server == "sqlite" else (None, None)
                variants.append(
                    Variant(
                        name + SERVERS[server],
                        target,
                        {"mix": mix, "message_size": size, "requests": requests},
                        ceiling="" if target.is_trivial else name + SERVERS["ceiling"],
                        at_least=goal[0],
                        aim=goal[1],
                    )
                )
        await bench.compare("stream", variants)
