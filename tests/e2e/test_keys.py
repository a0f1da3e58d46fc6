"""A key of the command line at three nodes: it leads to a service, and opens nothing more once it is disabled."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tallygate._access.scope import PLATFORM
from tallygate._channel import open_aio_channel
from tallygate._security import Security
from tallygate.metering.v1 import decision_pb2
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import typed
from tests.harness.programs.guarded import GuardedFleet, guarded_fleet
from tests.harness.programs.key_caller import KeyCaller
from tests.harness.programs.one_service import SERVICE, enable_at
from tests.harness.programs.requests import decided

NODES, ROUNDS = 3, 20


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[GuardedFleet]:
    async with guarded_fleet(tmp_path) as fleet:
        await enable_at(fleet.control.address, fleet.operator)
        for number in range(NODES):
            await fleet.start_node(f"node-{number}")
        yield fleet


async def key_command(fleet: GuardedFleet, *arguments: str) -> str:
    """What `tallygate key ...` says, of the operator; it must succeed."""
    token = ("--token-file", str(fleet.secrets.operator_token_file))
    done = await asyncio.to_thread(typed, *token, "key", *arguments, "--control", fleet.control.address)
    assert done.status == 0, done.err
    return done.out


async def disabled_after_s(fleet: GuardedFleet, key: str, callers: Sequence[KeyCaller]) -> list[float]:
    """How long after the command began each node had stopped what ran, and refused a call."""
    waits = [asyncio.create_task(wait) for each in callers for wait in (each.until_stopped(), each.until_refused())]
    since_s = time.monotonic()
    await key_command(fleet, "disable", key)
    async with asyncio.timeout(PATIENCE_S):
        return [moment_s - since_s for moment_s in await asyncio.gather(*waits)]


async def test_a_disabled_key_opens_nothing_more_on_any_node(fleet: GuardedFleet, tmp_path: Path) -> None:
    """Twenty times: what ran is told to stop, no call passes, and another key goes on. No log has a secret."""
    waits_s: list[float] = []
    secrets = []
    token = (await fleet.token(PLATFORM)).text
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(open_aio_channel(node.address, Security(token=token)))
            for node in fleet.nodes
        ]

        async def opened(key: str) -> list[KeyCaller]:
            out = tmp_path / f"{key}.key"
            await key_command(fleet, "create", f"acme/{key}", "--out", str(out))
            secrets.append(out.read_text().strip())
            callers = [KeyCaller(each, secrets[-1], "llama", f"{key}-{at}") for at, each in enumerate(channels)]
            async with asyncio.timeout(PATIENCE_S):
                assert await asyncio.gather(*(caller.open() for caller in callers)) == [SERVICE] * NODES
            return callers

        others = await opened("other")
        for turn in range(ROUNDS):
            waits_s += await disabled_after_s(fleet, f"acme/k{turn}", await opened(f"k{turn}"))
        for caller in others:
            assert (await decided(caller.authorise)).verdict == decision_pb2.VERDICT_ALLOW
    assert len(waits_s) == 2 * NODES * ROUNDS
    print(f"disabled after {statistics.median(waits_s) * 1000:.0f} ms, at most {max(waits_s) * 1000:.0f} ms")  # noqa: T201  # by `pytest -s`
    for program in (fleet.control, *fleet.nodes):
        text = program.log.read_text()
        assert not any(secret in text for secret in secrets)
