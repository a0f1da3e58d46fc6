"""The programs that take part: the pair, and vLLM with the middleware in it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

KEY = "sk-exact"
SERVICE = "accounts/exact/services/default-llama"
ROOT = Path(__file__).resolve().parents[2]
START_S = 300
STOP_S = 30
_DIRECT = build_opener(ProxyHandler({}))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def program(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program; ends it, and what it has started, when left."""
    with log.open("wb") as out:
        process = subprocess.Popen(  # programs of this project, and the Python that was named
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(environment), start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_served(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until a URL answers.

    Raises:
        RuntimeError: The program has ended, or takes too long; with the end of its log.
    """
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with _DIRECT.open(url, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"{url} is not served:\n" + "\n".join(log.read_text().splitlines()[-20:]))


@contextmanager
def pair(folder: Path) -> Iterator[tuple[str, str]]:
    """Both services, with a model, a price, and an account that pays; gives control's and metering's addresses."""
    control, metering = (f"127.0.0.1:{free_port()}" for _ in range(2))
    command = str(Path(sys.executable).with_name("tallygate"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLYGATE_")}
    up = [command, "up", "--data-dir", str(folder / "data"), "--control", control, "--metering", metering]
    with program(up, folder / "pair.log", environment) as process:
        _wait_until_listening(metering, process, folder / "pair.log")
        for words in (
            ("model", "create", "llama"),
            ("model", "publish-price", "llama", "--input", "0.20", "--output", "0.60"),
            ("account", "create", "exact"),
            ("account", "top-up", "exact", "--amount", "1000"),
            ("service", "enable-postpaid", "exact/default-llama"),
        ):
            subprocess.run([command, *words, "--control", control], env=environment, check=True, capture_output=True)
        yield control, metering


def _wait_until_listening(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError("the pair does not start:\n" + "\n".join(log.read_text().splitlines()[-20:]))


@contextmanager
def vllm(python: str, folder: Path, metering: str) -> Iterator[str]:
    """Runs vLLM with the middleware, serving the tiny model; gives its URL."""
    subprocess.run(
        [python, str(Path(__file__).with_name("tiny_model.py")), str(folder / "model")], check=True, capture_output=True
    )
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "TALLYGATE_METERING_ADDRESSES": metering,
        "TALLYGATE_SERVICE": SERVICE,
        "TALLYGATE_COUNT_INPUT": "server",
    }
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "model")]
    command += ["--served-model-name", "llama", "--host", "127.0.0.1", "--port", str(port), "--max-model-len", "4096"]
    command += ["--enforce-eager", "--dtype", "bfloat16", "--enable-prompt-tokens-details", "--enable-scale-out"]
    command += ["--middleware", "tallygate.integrations.asgi.MeteringMiddleware"]
    with program(command, folder / "vllm.log", environment) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until_served(f"{url}/health", process, folder / "vllm.log")
        yield url
