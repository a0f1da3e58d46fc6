"""Calls of `ShouldRateLimit` a second, as a gateway makes them, beside a trivial server of unary calls."""

from contextlib import AsyncExitStack

from benchmarks.bench import Bench, Variant, in_turn
from benchmarks.targets import gateway_server

TRIVIAL, GATEWAY = "unary calls, trivial", "gates and counts of a gateway, SQLite"


async def run(bench: Bench) -> None:
    """Each request is a gate and a count, which waits for its commit.

    A call is one of the trivial server's, and a report on the stream to a node besides: two programs do what one does
    there, on the same processors.
    """
    async with AsyncExitStack() as stack:
        targets = await in_turn(stack, bench, ["sqlite"])
        server = await gateway_server(stack, bench.directory, targets["sqlite"])
        variants = [
            Variant(TRIVIAL, targets["ceiling"], {"kind": "unary"}, unit="calls/s"),
            Variant(GATEWAY, server, {"kind": "gateway"}, TRIVIAL, at_least=0.15, aim=0.4, unit="calls/s"),
        ]
        results = await bench.compare("gateway", variants)
        if results.get(GATEWAY):
            for point in ("p50", "p99"):
                bench.latencies("gateway", GATEWAY, results[GATEWAY], results[TRIVIAL], point=point, older=[])
