"""The load generator, a process of its own: reads a job from stdin, does it, writes what it measured to stdout."""

import sys
from typing import assert_never

import uvloop

from benchmarks.job import Job, Result
from benchmarks.stream_load import run_stream
from benchmarks.unary_load import run_unary


async def do(job: Job) -> Result:
    """One measurement."""
    match job.kind:
        case "stream":
            return await run_stream(job)
        case "unary":
            return await run_unary(job)
        case "settle" | "pace":
            raise NotImplementedError
        case _:
            assert_never(job.kind)


def main() -> None:
    """Read, do, write."""
    print(uvloop.run(do(Job.from_json(sys.stdin.read()))).to_json(), flush=True)


if __name__ == "__main__":
    main()
