"""h2load as an independent client: plain HTTP/2 that happens to be gRPC."""

import asyncio
import re
import tempfile

import grpc

from benchmarks.unary_load import AUTHORIZE, IN_FLIGHT
from benchmarks.wire import Cutter, unary
from benchmarks.workload import Asked
from tallygate.metering.v1 import decision_pb2
from tallygate.metering.v1 import metering_service_pb2 as pb

FINISHED = re.compile(r"finished in [\d.]+\w+, ([\d.]+) req/s")
SUCCEEDED = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored")
TRAFFIC = re.compile(r"\((\d+)\) data")
TIMEOUT_S = 60
NOT_COMPRESSED = b"\0"
FRAME_BYTES = 5
AS_LONG = 0.9
"""Of the length of the first answer, on average: numbers in it grow and shrink by a byte or two. Denials have half."""


def request(service: str) -> bytes:
    """An AuthorizeRequest."""
    cut = Cutter(Asked("h2load", [service]).running()).cut(1)
    assert cut is not None
    return unary(cut.reports)


async def calls_per_second(program: str, address: str, service: str, seconds: int) -> float:
    """One connection, as many streams as our own generator has calls in flight. Raises RuntimeError."""
    body = request(service)
    answer_bytes = FRAME_BYTES + len(await _allowed(address, body))
    with tempfile.NamedTemporaryFile(prefix="tallygate-h2load-") as file:
        file.write(NOT_COMPRESSED + len(body).to_bytes(4) + body)
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
    return rate_in(out, answer_bytes)


async def _allowed(address: str, body: bytes) -> bytes:
    """What is answered to that request, once."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            AUTHORIZE, request_serializer=None, response_deserializer=None
        )
        answer = await call(body)
    decision = pb.AuthorizeResponse.FromString(answer).decision
    if decision.verdict != decision_pb2.VERDICT_ALLOW:
        raise RuntimeError(f"what h2load would ask for is denied: {decision.message}")
    return answer


def rate_in(out: str, answer_bytes: int) -> float:
    """What h2load says it was. Raises RuntimeError if calls failed, or if answers were shorter than one that allows.

    For HTTP all is well also where gRPC has an error, which has no data, and where a request is denied.
    """
    finished, succeeded, traffic = FINISHED.search(out), SUCCEEDED.search(out), TRAFFIC.search(out)
    if finished is None or succeeded is None or traffic is None or int(succeeded[2]) or int(succeeded[3]):
        raise RuntimeError(f"h2load failed: {out[-500:]}")
    if int(traffic[1]) < AS_LONG * answer_bytes * int(succeeded[1]):
        raise RuntimeError(f"what h2load asked for was not allowed each time: {out[-500:]}")
    return float(finished[1])
