"""When the real clients of OpenAI and Anthropic try again: after the time that they are told, or not at all."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import anyio
import openai
import pytest

from tallygate.client import Denial, Denied
from tallygate.integrations.asgi_types import Receive, Scope, Send
from tallygate.integrations.openai.errors import refusal
from tallygate.integrations.refusals import send_response
from tests.harness.asgi.engine_harness import uvicorn_serving
from tests.harness.programs.languages import INSTALL_S, need

pytestmark = pytest.mark.hang_limit(INSTALL_S + 300)

MESSAGES: Any = [{"role": "user", "content": "Hi"}]
RETRIES = 2
WAITS_S = [0, 1, 60, 61, 120, 121, 86_400]
PACKAGES = ("openai@7.59.0", "@anthropic-ai/sdk@1.14.0")
SCRIPT = Path(__file__).with_name("retries.mjs")


@dataclass(eq=False)
class Refusing:
    """A server that refuses whatever it is asked."""

    wait_s: int = 0
    calls: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        while (await receive()).get("more_body"):
            pass
        self.calls += 1
        denial = Denial("TOKEN_RATE", "Too fast.", retryable=True, retry_after_ms=self.wait_s * 1_000)
        await send_response(send, refusal(Denied(denial)))


@pytest.fixture
async def refusing() -> AsyncIterator[tuple[Refusing, str]]:
    """Such a server, and its URL."""
    app = Refusing()
    async with uvicorn_serving(app, lifespan="off") as url:
        yield app, url


def expected_waits_s(wait_s: int) -> list[int]:
    """What a client that is told this shall wait before each further attempt."""
    return [max(1, wait_s)] * RETRIES if wait_s <= 60 else []


async def _ask_openai(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-acme", max_retries=RETRIES) as client:
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="llama", messages=MESSAGES)


async def _ask_anthropic(url: str) -> None:
    async with anthropic.AsyncAnthropic(base_url=url, api_key="sk-acme", max_retries=RETRIES) as client:
        with pytest.raises(anthropic.RateLimitError):
            await client.messages.create(model="llama", max_tokens=5, messages=MESSAGES)


@pytest.mark.parametrize("wait_s", WAITS_S)
@pytest.mark.parametrize("ask", [_ask_openai, _ask_anthropic])
async def test_python_clients_wait_as_they_are_told_or_give_up(
    refusing: tuple[Refusing, str], ask: Callable[[str], Any], wait_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to a minute they wait, to the second; beyond it they leave it to people."""
    app, url = refusing
    app.wait_s = wait_s
    waited: list[float] = []
    sleep = anyio.sleep

    async def note(seconds: float) -> None:
        if seconds >= 0.5:
            waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr(anyio, "sleep", note)
    await ask(url)
    assert waited == expected_waits_s(wait_s)
    assert app.calls == 1 + len(waited)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients for Node, and the script that uses them."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not here")
    folder = tmp_path_factory.mktemp("node")
    need(["npm", "install", "--no-audit", "--no-fund", *PACKAGES], folder, "npm could not install the clients")
    return Path(shutil.copy(SCRIPT, folder))


@pytest.mark.parametrize("wait_s", WAITS_S)
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_node_clients_wait_as_they_are_told_or_give_up(
    refusing: tuple[Refusing, str], node: Path, kind: str, wait_s: int
) -> None:
    """The same."""
    app, url = refusing
    app.wait_s = wait_s
    script = await asyncio.create_subprocess_exec(
        "node", str(node), kind, url, cwd=node.parent, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await script.communicate()
    said = json.loads(out)
    assert said["status"] == 429
    assert said["waits"] == [1_000 * seconds for seconds in expected_waits_s(wait_s)]
    assert app.calls == 1 + len(said["waits"])
