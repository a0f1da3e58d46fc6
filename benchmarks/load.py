"""The load generator, a process of its own: reads a job from stdin, does it, writes what it measured to stdout."""

import sys
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks.client_load import run_client
from benchmarks.guess_load import run_guess
from benchmarks.job import Job, Kind, Result
from benchmarks.known_load import run_known
from benchmarks.lease_load import run_leases
from benchmarks.pace_load import run_pace
from benchmarks.settle_load import run_settle
from benchmarks.stream_load import run_stream
from benchmarks.token_load import run_resolve, run_shown
from benchmarks.unary_load import run_unary

KINDS: dict[Kind, Callable[[Job], Awaitable[Result]]] = {
    "stream": run_stream,
    "unary": run_unary,
    "settle": run_settle,
    "pace": run_pace,
    "leases": run_leases,
    "client": run_client,
    "known": run_known,
    "guess": run_guess,
    "resolve": run_resolve,
    "shown": run_shown,
}


async def do(job: Job) -> Result:
    """One measurement."""
    return await KINDS[job.kind](job)


def main() -> None:
    """Read, do, write."""
    print(uvloop.run(do(Job.from_json(sys.stdin.read()))).to_json(), flush=True)


if __name__ == "__main__":
    main()
