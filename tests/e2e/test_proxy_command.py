"""`tallygate proxy` as a person runs it: one command in front of a server, and what it says of mistakes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.asgi.engine_harness import SERVICE, people, uvicorn_serving
from tests.harness.asgi.fake_engine import FakeEngine
from tests.harness.patience import PATIENCE_S, until_found
from tests.harness.programs.command import TALLYGATE, tallygate
from tests.harness.programs.programs import Pair


@contextmanager
def proxy(upstream: str, metering: str, *options: str) -> Iterator[str]:
    """The command on a free port; gives its address, and tells it to end."""
    process = subprocess.Popen(
        [*TALLYGATE, "proxy", "--upstream", upstream, "--listen", "127.0.0.1:0", *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TALLYGATE_METERING_ADDRESSES": metering, "TALLYGATE_SERVICE": SERVICE},
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().removeprefix("serving ").strip()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) in {0, -signal.SIGTERM}
        process.stdout.close()


async def is_shown(pair: Pair, words: str) -> bool:
    """Whether the command shows a record with these."""
    shown = await asyncio.to_thread(tallygate, "usage", "requests", SERVICE, "--metering", pair.metering.address)
    return words in shown.out


async def test_a_server_is_metered_from_in_front_of_it(pair: Pair) -> None:
    """Nothing is installed in the server, and its client only has another address."""
    async with people(pair) as hands:
        await hands.prepare()
    async with uvicorn_serving(FakeEngine(), lifespan="off") as engine:
        with proxy(engine, pair.metering.address) as url:
            import openai  # noqa: PLC0415  # takes long

            client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=50, timeout=PATIENCE_S)
            async with client:
                answer = await client.chat.completions.create(
                    model="llama", messages=[{"role": "user", "content": "?"}], max_tokens=7
                )
            assert answer.usage is not None
            assert answer.usage.completion_tokens == 7
            await until_found(lambda: is_shown(pair, " 7 "))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--upstream", "localhost:8000"), "'localhost:8000' is no upstream; write http://HOST:PORT"),
        (("--upstream", "http://a:1,http://b:2"), "leave it with one of them"),
        (("--upstream", "http://a:1", "--listen", "7480"), "'7480' is no address"),
        (("--upstream", "http://a:1", "--tls-cert", "x"), "--tls-cert and --tls-key belong together"),
        (("--upstream", "http://a:1", "--upstream-key-file", "gone"), "gone cannot be read"),
        (("--upstream", "http://a:b"), "'http://a:b' is no upstream"),
        (("--upstream", "http://u:geheim@a:1"), "leave user and password out"),
        (("--upstream", "http://a:1", "--upstream-key-file", __file__), "holds no API key"),
        (("--upstream", "http://a:1", "--upstream-key-file", "", "--upstream-ca", "gone"), "gone cannot be read"),
        (("--upstream", "http://a:1", "--upstream-ca", __file__), "has no certificates"),
        (("--upstream", "http://a:1", "--tls-cert", "x", "--tls-key", "y"), "--tls-cert x and --tls-key y cannot be"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    """And nothing listens."""
    variables = {"TALLYGATE_METERING_ADDRESSES": "127.0.0.1:1", "TALLYGATE_SERVICE": SERVICE, "HOME": str(tmp_path)}
    ended = tallygate("proxy", *options, variables=variables)
    assert ended.status == 1
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert "geheim" not in ended.err


def test_the_middlewares_settings_are_asked_for() -> None:
    """They are the proxy's, too."""
    ended = tallygate("proxy", "--upstream", "http://127.0.0.1:1")
    assert ended.status == 1
    assert "TALLYGATE_METERING_ADDRESSES is not set" in ended.err
