"""Refusals on their way through a real server to real clients, before any metering node is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tallygate.client import ClientSettings, MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tests.harness.asgi.engine_harness import SERVICES, uvicorn_serving
from tests.harness.asgi.fake_engine import FakeEngine
from tests.harness.patience import PATIENCE_S

QUICK = ClientSettings(answer_ms=50)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server whose metering node does not exist: whatever needs one fails."""
    middleware = MeteringMiddleware(FakeEngine(), client=MeteringClient("127.0.0.1:1"), services=SERVICES)
    async with uvicorn_serving(middleware, lifespan="off") as url:
        yield url


@pytest.mark.parametrize("mebibytes", [33, 48])
async def test_a_body_that_is_too_long_is_told_so_once(url: str, mebibytes: int) -> None:
    """The client hears of it after one upload, and does not take it for a broken connection."""
    sent = 0

    async def count(request: httpx2.Request) -> None:
        nonlocal sent
        sent += 1

    messages: Any = [{"role": "user", "content": "x" * (mebibytes << 20)}]
    async with (
        httpx2.AsyncClient(timeout=PATIENCE_S, event_hooks={"request": [count]}) as http,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-acme", max_retries=2, http_client=http) as client,
    ):
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(model="llama", messages=messages)
    assert (refused.value.status_code, refused.value.code, sent) == (413, "request_too_large", 1)


async def test_a_refused_route_is_told_so_whatever_its_body(url: str) -> None:
    """A long upload to a path that is not known is read to its end as well."""
    async with httpx2.AsyncClient(timeout=PATIENCE_S) as http:
        answer = await http.post(f"{url}/v1/files", content=bytes(8 << 20))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_route")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer sk-acme"}, 503),
        ({"authorization": "bearer   sk-acme"}, 503),
        ({"x-api-key": "sk-acme"}, 503),
        ({"api-key": "sk-acme"}, 503),
        ({"authorization": "Basic c2stYWNtZQ==", "api-key": "sk-acme"}, 503),
        ({"authorization": "Bearer sk-other", "api-key": "sk-acme"}, 401),
        ({"authorization": "sk-acme"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({}, 401),
    ],
)
async def test_keys_come_in_several_headers(headers: dict[str, str], status: int) -> None:
    """A key that is known gets as far as the metering node, which does not exist."""
    client = MeteringClient("127.0.0.1:1", settings=QUICK)
    middleware = MeteringMiddleware(FakeEngine(), client=client, services=SERVICES)
    async with uvicorn_serving(middleware, lifespan="off") as url, httpx2.AsyncClient(timeout=PATIENCE_S) as http:
        answer = await http.post(f"{url}/v1/chat/completions", json={"model": "llama", "messages": []}, headers=headers)
    await client.close()
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-encoding": "gzip"}, 415),
        ({"content-encoding": "identity"}, 401),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": "application/json; charset=utf-16"}, 415),
        ({"content-type": 'application/json; charset="UTF-8"'}, 401),
        ({"content-type": "application/vnd.api+json"}, 401),
    ],
)
async def test_bodies_in_another_form_are_refused(url: str, headers: dict[str, str], status: int) -> None:
    """What is not JSON to us could be something else to the app."""
    async with httpx2.AsyncClient(timeout=PATIENCE_S) as http:
        answer = await http.post(
            f"{url}/v1/chat/completions", content=b'{"model":"llama","messages":[]}', headers=headers
        )
    assert answer.status_code == status


async def test_a_control_character_in_a_path_is_refused(url: str) -> None:
    """Encoded in the request line, it reaches the middleware decoded, and no app."""
    async with httpx2.AsyncClient(timeout=PATIENCE_S) as http:
        for path in ("/v1/chat/completions%0a", "/v1/chat/completions%00", "/v1%09/chat/completions"):
            answer = await http.post(f"{url}{path}", content=b"{}", headers={"authorization": "Bearer sk-acme"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_path")


async def test_anthropic_clients_understand_refusals(url: str) -> None:
    """In the shape of their API: a type that they know, and the sentence."""
    async with anthropic.AsyncAnthropic(base_url=url, api_key="sk-unknown", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "Hi"}]
        with pytest.raises(anthropic.AuthenticationError) as unknown:
            await client.messages.create(model="llama", max_tokens=5, messages=messages)
        with pytest.raises(anthropic.BadRequestError) as wrong:
            await client.messages.create(model="llama", max_tokens=5, messages=messages, extra_body={"n": "many"})
    body: Any = unknown.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")
    assert "not known here" in body["error"]["message"]
    said: Any = wrong.value.body
    assert said["error"]["type"] == "invalid_request_error"
