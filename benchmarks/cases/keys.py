"""Keys of end users disabled while requests run: how long until each node stops these, and refuses calls."""

import asyncio
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Final

from benchmarks.accounts import ACCOUNT
from benchmarks.bench import Bench
from benchmarks.cases.access_revoked import revoked_figures
from benchmarks.guarded_targets import Guarded, Shape, guarded
from benchmarks.job import Result
from tallygate._channel import open_aio_channel
from tallygate._security import Security
from tallygate.control.v1 import api_key_pb2, key_service_pb2, key_service_pb2_grpc
from tests.harness.programs.key_caller import KeyCaller

NODES: Final = 3
LONGEST_MS: Final = 500.0
"""Goal of the longest time from the call that disables a key."""
PATIENCE_S: Final = 60.0
REQUEST, CALL = "key disabled, running request stopped", "key disabled, call refused"


async def run(bench: Bench) -> None:
    """So many keys, one after the other; a request of each runs on each node."""
    names = [f"{what}, {which}" for what in (REQUEST, CALL) for which in ("median", "longest")]
    if not any(bench.plan.only.search(name) for name in names):
        return
    turns = 3 if bench.plan.quick else 20
    task = bench.progress.add_task("keys", total=turns)
    stopped_ms: list[float] = []
    refused_ms: list[float] = []
    async with guarded(bench, Shape(nodes=NODES)) as fleet:
        for turn in range(turns):
            requests, calls = await _disable(bench, fleet, turn)
            stopped_ms += requests
            refused_ms += calls
            bench.progress.advance(task)
    for what, samples in ((REQUEST, stopped_ms), (CALL, refused_ms)):
        bench.figures += revoked_figures(what, samples, NODES * turns, "keys", LONGEST_MS)


async def _disable(bench: Bench, fleet: Guarded, turn: int) -> tuple[list[float], list[float]]:
    """How many milliseconds after the call that disabled it a key opened nothing on each node."""
    name, operator = f"{ACCOUNT}/keys/turn-{turn}", Security(**fleet.operator)
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(open_aio_channel(fleet.control.addresses[0], operator))
        keys = key_service_pb2_grpc.KeyServiceStub(control)
        scope = api_key_pb2.KeyScope(all_services=True, all_models=True)
        secret = (await keys.CreateKey(key_service_pb2.CreateKeyRequest(name=name, scope=scope))).secret
        # Calls that name no service ask for the permission on the platform, which an operator has.
        channels = [
            await stack.enter_async_context(open_aio_channel(node.addresses[0], operator)) for node in fleet.nodes
        ]
        callers = [KeyCaller(each, secret, "llama", f"turn-{turn}-{at}") for at, each in enumerate(channels)]
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(caller.open() for caller in callers))
            ends: list[Awaitable[float]] = [each.until_stopped() for each in callers]
            ends += [each.until_refused() for each in callers]
            waiting = asyncio.gather(*ends)
            await asyncio.sleep(0)
            since_s = time.monotonic()
            await keys.DisableKey(key_service_pb2.DisableKeyRequest(name=name))
            times_ms = [(moment_s - since_s) * 1_000 for moment_s in await waiting]
    if min(times_ms) < 0:
        raise RuntimeError("a key opened nothing before it was disabled")
    finished = sum(caller.finished for caller in callers)
    bench.measured[fleet.node.control].append(Result(finished_requests=finished))
    return times_ms[: len(callers)], times_ms[len(callers) :]
