"""Starts the load generator."""

import asyncio
from pathlib import Path

from benchmarks.builds import THIS, Build
from benchmarks.job import Job, Result

TIMEOUT_S = 600.0
ERROR_LINES_SHOWN = 20


async def generate(job: Job, directory: Path, build: Build = THIS) -> Result:
    """Run the load generator, on a build's client library. Raises RuntimeError with its last words if it fails."""
    command, environment = build.load(directory)
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S + job.seconds):
            out, errors = await process.communicate(job.to_json().encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError("\n".join(errors.decode(errors="replace").splitlines()[-ERROR_LINES_SHOWN:]))
    return Result.from_json(out.decode())
