"""A real Envoy, run by the very file under deploy/, in front of the fake engine, and the server that it asks."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.envoy.app import EnvoyUpstream
from tallygate.integrations.envoy.serve import Servicers
from tallygate.integrations.envoy.serve import serving as serving_envoy
from tests.harness.asgi.engine_harness import SERVICES, Serving, uvicorn_serving
from tests.harness.asgi.fake_engine import FakeEngine, input_tokens
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S
from tests.harness.ports import held_port

ENVOY = Path(sys.executable).with_name("envoy")
SAMPLE = Path(__file__).parents[3] / "deploy" / "envoy" / "envoy.yaml"
ADMIN, CLIENTS, UPSTREAM, TALLYGATE = 9901, 10000, 8000, 7490
"""Ports in the sample."""

_ANSWER_TIMEOUT = re.compile(r"(?<!connect_)timeout: [1-9]s")

Change = Callable[[str], str]


def unchanged(text: str) -> str:
    return text


@asynccontextmanager
async def running_envoy(
    folder: Path, *, upstream: int, tallygate: int, sample: Path = SAMPLE, change: Change = unchanged
) -> AsyncIterator[str]:
    """An Envoy with these two ports instead of the sample's, and free ones for itself; gives its URL."""
    ports = {ADMIN: held_port(), CLIENTS: held_port(), UPSTREAM: upstream, TALLYGATE: tallygate}
    config = folder / "envoy.yaml"
    write_config(config, sample, ports, change)
    process = await asyncio.create_subprocess_exec(
        ENVOY, "-c", config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await _listens(ports[CLIENTS]):
                assert process.returncode is None, "Envoy ended by itself"
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{ports[CLIENTS]}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def serving_by_envoy(
    addresses: Sequence[str],
    folder: Path,
    *,
    change: Change = unchanged,
    upstream: str = "",
    whole_answers: str = "hold",
    services: Mapping[str, object] = SERVICES,
) -> AsyncIterator[Serving]:
    """Serves the fake engine by itself, or what is at `upstream`; in front of it Envoy, metered by nodes."""
    engine = FakeEngine()
    metering = MeteringClient(addresses, settings=PATIENT)
    middleware = MeteringMiddleware(
        EnvoyUpstream(),
        client=metering,
        services=services,
        count_input_tokens=input_tokens,
        whole_answers=whole_answers,
    )
    async with (
        uvicorn_serving(engine, lifespan="off") as engine_url,
        serving_envoy("127.0.0.1:0", Servicers(middleware), grace_s=0) as tallygate,
        running_envoy(folder, upstream=port_of(upstream or engine_url), tallygate=tallygate, change=change) as url,
    ):
        yield Serving(engine, middleware, metering, url)


def write_config(config: Path, sample: Path, ports: Mapping[int, int], change: Change) -> None:
    text = re.sub(r"(?<=port_value: )\d+", lambda found: str(ports[int(found[0])]), sample.read_text())
    # How long Envoy waits for an answer of Tallygate depends on what else the machine does.
    config.write_text(_ANSWER_TIMEOUT.sub(f"timeout: {PATIENCE_S:.0f}s", change(text)))


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
