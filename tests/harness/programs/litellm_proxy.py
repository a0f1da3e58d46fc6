"""The real LiteLLM proxy as a process, from its own environment, with the configuration that is deployed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx2
import yaml

from tests.harness.patience import PATIENCE_S
from tests.harness.ports import held_port

ROOT: Final = Path(__file__).parents[3]
LITELLM: Final = ROOT / ".venv/litellm/bin/litellm"
CONFIG: Final = ROOT / "deploy/litellm/config.yaml"
START_S: Final = 1_100
"""Maximum time until it serves: each of its processes imports for half a minute of processor time."""
USERS: Final = """
from litellm.proxy._types import UserAPIKeyAuth

async def check(request, api_key):
    return UserAPIKeyAuth(api_key=api_key)
"""
"""Lets any key in, as LiteLLM's database would let those in that it has."""


_SETTINGS: Final = {
    # Otherwise it asks its vendor for prices when it starts.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # It breaks off what says the same a hundred times, as the fake engine does.
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000",
}


@asynccontextmanager
async def litellm_proxy(folder: Path, environment: Mapping[str, str], *options: str) -> AsyncIterator[str]:
    """Serves `deploy/litellm/config.yaml`, with users added; gives its URL."""
    config = yaml.safe_load(CONFIG.read_text())
    config["general_settings"]["custom_auth"] = "users.check"
    (folder / "users.py").write_text(USERS)
    async with _running(folder, config, environment, *options) as (port, _):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def litellm_alone(folder: Path, upstream: str) -> AsyncIterator[tuple[int, int]]:
    """Serves one model of an upstream, without metering and for anybody; gives its port and its process."""
    config = yaml.safe_load(CONFIG.read_text())
    del config["litellm_settings"]["callbacks"]
    config["general_settings"] = {"dangerously_permit_weak_or_unset_master_key": True}
    environment = {"UPSTREAM_URL": f"{upstream}/v1", "UPSTREAM_KEY": "any"}
    async with _running(folder, config, environment) as serving:
        yield serving


@asynccontextmanager
async def _running(
    folder: Path, config: Mapping[str, object], environment: Mapping[str, str], *options: str
) -> AsyncIterator[tuple[int, int]]:
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    port = held_port()
    log = folder / "litellm.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(
                str(LITELLM),
                "--config",
                str(folder / "config.yaml"),
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                *options,
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **_SETTINGS, **environment},
        )
    try:
        async with asyncio.timeout(START_S), httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            while not await _serves(client):
                assert process.returncode is None, log.read_text()[-3_000:]
                await asyncio.sleep(0.1)
        yield port, process.pid
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), PATIENCE_S)


async def _serves(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/health/liveliness")).status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False
