"""What ten rate rules and three budgets cost an authorisation, which passes them all: against none, in turn."""

from contextlib import AsyncExitStack
from typing import Any, Final

from benchmarks.bench import Bench, Variant
from benchmarks.cases.access_cost import beside
from benchmarks.limits import BUDGETS, RULES, limit_in_every_way

LOADS: Final[dict[str, tuple[dict[str, Any], float | None, float | None, str]]] = {
    "unary": ({"kind": "unary"}, 1 / 1.5, 1 / 1.25, "calls/s"),
    "authorise+8+finish 256": ({"mix": "life", "message_size": 256}, None, None, "reports/s"),
}
"""Loads that are measured: the job, the shares of the rate without limits that are to be left, and the unit."""


async def run(bench: Bench) -> None:
    """Two pairs of services at once, of which one has the limits."""
    names = {load: (f"{load}, no limits", f"{load}, {RULES} rules and {BUDGETS} budgets") for load in LOADS}
    if not any(bench.plan.only.search(name) for both in names.values() for name in both):
        return
    async with AsyncExitStack() as stack:
        free = await stack.enter_async_context(bench.real("sqlite"))
        limited = await stack.enter_async_context(bench.real("sqlite"))
        for target in (limited, limited.older):
            if target is not None:
                await limit_in_every_way(target.control)
        for load, (job, at_least, aim, unit) in LOADS.items():
            without, under = names[load]
            variants = [
                Variant(without, free, job, unit=unit),
                Variant(under, limited, job, without, at_least, aim, unit=unit),
            ]
            results = await bench.compare("limits", variants)
            if results.get(under):
                beside(bench, variants[1], results[under], results[without], "limits")
