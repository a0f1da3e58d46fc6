"""Decisions in the inference server itself, on a grant that it holds."""

from benchmarks.bench import Bench, Variant
from tallygate.client import MeteredRequest

NAME = "a token at a time, one thread"


async def run(bench: Bench) -> None:
    """Against a real node, which grants."""
    async with bench.real("sqlite") as target:
        goal = Variant(NAME, target, {"kind": "client"}, at_least=1e6, aim=2e6, unit="decisions/s")
        await bench.compare("client", [goal])
    if not hasattr(MeteredRequest, "output"):
        bench.remarks.append("client: by progress(output_tokens=n), for there is no output(1) yet.")
