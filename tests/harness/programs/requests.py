"""Requests at real nodes, which may refuse for now whatever control was too slow to answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc

from tallygate._wire.failures import decode_failure
from tallygate.client import Denied, MeteredRequest, MeteringClient, Receipt, Unreachable
from tallygate.metering.v1 import decision_pb2
from tests.harness.patience import PATIENCE_S

_AGAIN_S: Final = 0.05
"""Interval at which a request is repeated, whatever time it was told: tests are not to wait for that."""
NOT_YET: Final = frozenset({"CREDENTIAL_UNVERIFIED", "OVERLOADED", "STORAGE_UNAVAILABLE"})
"""Reasons of calls that are to be repeated."""

_Answer = TypeVar("_Answer")


async def begun(client: MeteringClient, service: str, **facts: Any) -> MeteredRequest:
    """A request that was let in; asked for again where it is refused for now."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            request = client.request(service, **facts)
            try:
                await request.authorize()
            except Denied as denied:
                if not denied.retryable:
                    raise
            else:
                return request
            await asyncio.sleep(_AGAIN_S)


async def refused(client: MeteringClient, service: str, **facts: Any) -> str:
    """The reason for which a request is refused for good."""
    try:
        request = await begun(client, service, **facts)
    except Denied as denied:
        return denied.reason
    request.finish()
    raise AssertionError(f"{request.request_id} was let in")


async def on_record(request: MeteredRequest) -> Receipt | None:
    """The receipt of a request, once its finish is durable, however long its client is said to wait."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(Unreachable):
                return await request.wait_recorded()


async def decided(ask: Callable[[], Awaitable[decision_pb2.Decision]]) -> decision_pb2.Decision:
    """What becomes of a request in the end; asked again where the node cannot tell now, or refuses for now."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            decision = await answered(ask)
            if decision.verdict == decision_pb2.VERDICT_ALLOW or not decision.retryable:
                return decision
            await asyncio.sleep(_AGAIN_S)


async def answered(call: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """The answer to a call, which is repeated where a node says that it cannot tell now."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if decode_failure(error).reason not in NOT_YET:
                    raise
            await asyncio.sleep(_AGAIN_S)
