"""Decisions in the inference server itself, on a grant that it holds."""

from benchmarks.bench import Bench, Variant

NAME = "a token at a time, one thread"


async def run(bench: Bench) -> None:
    """Against a real node, which grants."""
    async with bench.real("sqlite") as target:
        goal = Variant(NAME, target, {"kind": "client"}, at_least=1e6, aim=2e6, unit="decisions/s")
        await bench.compare("client", [goal])
