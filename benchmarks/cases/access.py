"""Proof of who calls: what it costs, with how many tokens, what guesses cost, and how soon a revoked token is out."""

from collections.abc import Awaitable, Callable
from typing import Final

import grpc

from benchmarks.bench import Bench
from benchmarks.cases import access_cost, access_guesses, access_revoked, access_scale

PARTS: Final[dict[str, Callable[[Bench], Awaitable[None]]]] = {
    "cost": access_cost.run,
    "scale": access_scale.run,
    "revocation": access_revoked.run,
    "guesses": access_guesses.run,
}


async def run(bench: Bench) -> None:
    """A part that fails makes the run invalid, and does not take the other parts' figures along."""
    for name, part in PARTS.items():
        try:
            await part(bench)
        except (RuntimeError, TimeoutError, AssertionError, OSError, grpc.aio.AioRpcError) as error:
            bench.progress.console.print_exception()
            bench.failed.append(f"The part {name} of access failed: {str(error) or type(error).__name__}")
