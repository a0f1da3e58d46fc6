"""What health checking says of running programs."""

import asyncio
from collections.abc import Mapping

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.harness.patience import PATIENCE_S
from tests.harness.programs.programs import Program

METERING = "tallygate.metering.v1.MeteringService"
ACCEPTING = f"{METERING}.accepting"
USAGE = "tallygate.metering.v1.UsageService"
ACCOUNTS = "tallygate.control.v1.AccountService"
SERVING = health_pb2.HealthCheckResponse.SERVING


async def listed(program: Program) -> dict[str, bool]:
    """Whether each name is SERVING."""
    async with grpc.aio.insecure_channel(program.address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest(), timeout=PATIENCE_S)
    return {name: one.status == SERVING for name, one in answer.statuses.items()}


async def until_ready(program: Program, expected: Mapping[str, bool]) -> None:
    """Wait until health checking says this of these names."""
    found: Mapping[str, bool] = {}
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not expected.items() <= found.items():
                await asyncio.sleep(0.1)
                found = await listed(program)
    except TimeoutError:
        pytest.fail(f"{found} instead of {expected}\n{program.last_words()}")
