"""The load generator, a process of its own: reads a job from stdin, does it, writes what it measured to stdout."""

import sys
from collections.abc import Awaitable, Callable
from importlib import import_module

import uvloop

from benchmarks.job import Job, Kind, Result

KINDS: dict[Kind, str] = {
    "stream": "benchmarks.stream_load:run_stream",
    "unary": "benchmarks.unary_load:run_unary",
    "renew": "benchmarks.renew_load:run_renew",
    "settle": "benchmarks.settle_load:run_settle",
    "pace": "benchmarks.pace_load:run_pace",
    "leases": "benchmarks.lease_load:run_leases",
    "control": "benchmarks.control_load:run_control",
    "client": "benchmarks.client_load:run_client",
    "steps": "benchmarks.step_load:run_steps",
    "peer": "benchmarks.peers.load:run_peer",
    "known": "benchmarks.known_load:run_known",
    "guess": "benchmarks.guess_load:run_guess",
    "resolve": "benchmarks.token_load:run_resolve",
    "shown": "benchmarks.token_load:run_shown",
    "gateway": "benchmarks.gateway_load:run_gateway",
    "scrape": "benchmarks.scrape_load:run_scrape",
}
"""Module and function of each load. Only the one that is asked for is imported: an older build may lack what others
need."""


async def do(job: Job) -> Result:
    """One measurement."""
    module, _, name = KINDS[job.kind].partition(":")
    run: Callable[[Job], Awaitable[Result]] = getattr(import_module(module), name)
    return await run(job)


def main() -> None:
    """Read, do, write."""
    print(uvloop.run(do(Job.from_json(sys.stdin.read()))).to_json(), flush=True)


if __name__ == "__main__":
    main()
