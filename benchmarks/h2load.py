"""h2load as an independent client: plain HTTP/2 that happens to be gRPC."""

import asyncio
import re
import tempfile

from benchmarks.unary_load import AUTHORIZE, IN_FLIGHT
from benchmarks.wire import Cutter, unary
from benchmarks.workload import Asked

FINISHED = re.compile(r"finished in [\d.]+\w+, ([\d.]+) req/s")
SUCCEEDED = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored")
TIMEOUT_S = 60
NOT_COMPRESSED = b"\0"


def body(service: str) -> bytes:
    """One framed AuthorizeRequest."""
    cut = Cutter(Asked("h2load", [service]).running()).cut(1)
    assert cut is not None
    message = unary(cut.reports)
    return NOT_COMPRESSED + len(message).to_bytes(4) + message


async def calls_per_second(program: str, address: str, service: str, seconds: int) -> float:
    """One connection, as many streams as our own generator has calls in flight. Raises RuntimeError."""
    with tempfile.NamedTemporaryFile(prefix="tallygate-h2load-") as file:
        file.write(body(service))
        file.flush()
        process = await asyncio.create_subprocess_exec(
            *(program, "--clients=1", f"--max-concurrent-streams={IN_FLIGHT}", f"--duration={seconds}"),
            *("--header=content-type: application/grpc", "--header=te: trailers", f"--data={file.name}"),
            f"http://{address}{AUTHORIZE}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S + seconds):
                out = (await process.communicate())[0].decode()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return rate_in(out)


def rate_in(out: str) -> float:
    """What h2load says it was. Raises RuntimeError if calls failed."""
    finished, succeeded = FINISHED.search(out), SUCCEEDED.search(out)
    if finished is None or succeeded is None or int(succeeded[2]) or int(succeeded[3]):
        raise RuntimeError(f"h2load failed: {out[-500:]}")
    return float(finished[1])
