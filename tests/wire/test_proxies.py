"""A proxy in the environment: not between programs of one machine, and named where it is in the way."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from metering_service.api.control.replicas import connect_to, is_reachable, proxies_to
from tallygate.client import ClientSettings, MeteringClient, Unreachable
from tallygate.client.sync import SyncMeteringClient
from tallygate.control.v1 import fleet_service_pb2 as pb
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S, until
from tests.harness.wire.control_fleet import running_control
from tests.harness.wire.fake_metering import FakeMetering, serving
from tests.harness.wire.proxy import Proxy, refusing_proxy

SERVICE = "accounts/acme/services/chat"
QUICK = ClientSettings(heartbeat_ms=50, silence_ms=2_000, answer_ms=500, backoff_base_ms=5, backoff_cap_ms=20)
FAR = "node.invalid:7402"
VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy", "NO_PROXY")


@pytest.fixture(params=["http_proxy", "https_proxy", "grpc_proxy"])
async def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    """A proxy that the environment names, by one variable alone."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    async with refusing_proxy() as it:
        monkeypatch.setenv(request.param, it.url)
        yield it


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "dns:///localhost", "ipv4:127.0.0.1"])
async def test_a_node_on_this_machine_is_reached_directly(proxy: Proxy, host: str) -> None:
    """By the client, however it is told where."""
    async with (
        serving(FakeMetering()) as node,
        MeteringClient(f"{host}:{node.port}", settings=PATIENT) as client,
        client.request(SERVICE, input_tokens=1) as request,
    ):
        request.finish()
    assert proxy.asked == []


async def test_threads_reach_it_directly_too(proxy: Proxy) -> None:
    """With the synchronous client."""

    def run(address: str) -> None:
        with (
            SyncMeteringClient(address, settings=PATIENT) as client,
            client.request(SERVICE, input_tokens=1) as request,
        ):
            request.finish()

    async with serving(FakeMetering()) as node:
        await asyncio.to_thread(run, node.address)
    assert proxy.asked == []


async def test_an_error_names_the_proxy_on_the_way(proxy: Proxy) -> None:
    """Whoever reads that a node is unreachable learns what stands between, without anybody's password."""
    async with MeteringClient(FAR, settings=QUICK) as client:
        with pytest.raises(Unreachable) as caught:
            await client.request(SERVICE, input_tokens=1).authorize()
        # A busy machine may take longer to connect than the client waits for an answer.
        await until(lambda: proxy.asked)
    assert proxy.asked[0] == f"CONNECT {FAR} HTTP/1.1"
    shown = proxy.url.replace("user:secret@", "")
    assert f"_proxy={shown}; no_proxy=node.invalid goes around it" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_node_reaches_its_control_service_directly(proxy: Proxy, tmp_path: Path) -> None:
    """The link of a node, to control on the same machine; elsewhere it says what is on the way."""
    async with running_control(tmp_path) as control:
        address = control.address
        assert await is_reachable(address, timeout_s=PATIENCE_S)
        async with connect_to(address)() as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                stream = stub.WatchConfig()
                await stream.write(pb.WatchConfigRequest())
                await stream.read()
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert proxies_to(address) == []
    assert proxy.asked == []
    (named,) = proxies_to(f"{address},{FAR}")
    assert named.startswith(f"{FAR} ")
    assert named.endswith(proxy.url.replace("user:secret@", ""))


async def test_commands_name_the_proxy_on_the_way(proxy: Proxy, tmp_path: Path) -> None:
    """`tallygate` with control elsewhere; on this machine it goes to it directly."""
    failed = await command("--control", FAR)
    assert failed.returncode == 1
    text = " ".join(failed.stderr.split())
    assert "cannot be reached by the proxy that the environment names" in text
    assert "secret" not in failed.stderr
    assert proxy.asked
    proxy.asked.clear()
    async with running_control(tmp_path) as control:
        assert (await command("--control", control.address)).returncode == 0
    assert proxy.asked == []


async def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`tallygate account create acme`."""
    words = [sys.executable, "-m", "tallygate.cli", "account", "create", "acme", *arguments]
    environment = {**os.environ, "COLUMNS": "500"}
    return await asyncio.to_thread(
        subprocess.run, words, capture_output=True, text=True, env=environment, check=False, timeout=PATIENCE_S
    )
