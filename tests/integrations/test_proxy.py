"""The proxy in front of a server: metered to the token, passed on as it comes, sent once, and stopped upstream, too."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tallygate.integrations.event_ends import events_in
from tallygate.integrations.proxy.app import ProxyApp, ProxySettings, breaking_off
from tallygate.integrations.proxy.upstreams import read_upstreams
from tests.harness.asgi.engine_harness import (
    TRIAL,
    Serving,
    people,
    ready,
    records,
    serving_by_proxy,
    uvicorn_serving,
)
from tests.harness.asgi.raw_upstream import raw_upstream
from tests.harness.patience import PATIENCE_S, until
from tests.harness.programs.programs import Pair

REQUESTS = 60
SEED = 5
SLOW_STEP_TURNS = 100
TOKENS_MAX = 50_000
TRIAL_TOKENS = 200
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def served(pair: Pair) -> AsyncIterator[Serving]:
    """One node, one engine, the proxy between clients and it."""
    async with people(pair) as hands:
        await hands.prepare()
    async with serving_by_proxy([pair.metering.address]) as served:
        async with served.client() as client:
            await ready(client)
        yield served


async def ask(client: openai.AsyncOpenAI, name: str, tokens: int, *, streams: bool, leave_after: int | None) -> int:
    """Asks for so many tokens, reads the answer or leaves; returns the number of pieces of text that were read."""
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": name}]
    if not streams:
        whole = await client.chat.completions.create(
            model="llama",
            messages=messages,
            max_tokens=tokens,
            user=name,
        )
        assert whole.usage is not None
        return whole.usage.completion_tokens
    read = 0
    stream = await client.chat.completions.create(
        model="llama",
        messages=messages,
        max_tokens=tokens,
        stream=True,
        user=name,
    )
    async for chunk in stream:
        read += sum(bool(choice.delta.content) for choice in chunk.choices)
        if leave_after is not None and read >= leave_after:
            await stream.close()
            break
    return read


async def test_what_is_recorded_is_what_the_upstream_counted(pair: Pair, served: Serving) -> None:
    """Streamed and whole answers, a tenth of the clients leaving: exact for those that ended.

    Of those that were left it is what the proxy had read: at least what the client had, at most what was generated.
    """
    chance = random.Random(SEED)
    leaving = set(chance.sample(range(0, REQUESTS, 2), REQUESTS // 10))
    lengths = [chance.randint(8, 40) for _ in range(REQUESTS)]
    async with served.client() as client:
        read = await asyncio.gather(
            *(
                ask(client, f"u{at}", tokens, streams=at % 2 == 0, leave_after=3 if at in leaving else None)
                for at, tokens in enumerate(lengths)
            )
        )
    await until(lambda: not served.engine.running)
    found = await records(served, pair.metering.address)
    recorded = sum(record.usage.output_tokens for record in found)
    # The first request of the fixture generated one token.
    assert len(found) == REQUESTS + 1
    generated = served.engine.generated
    stayed = [at for at in range(REQUESTS) if at not in leaving]
    assert [read[at] for at in stayed] == [lengths[at] for at in stayed] == [generated[f"u{at}"] for at in stayed]
    least = 1 + sum(lengths[at] for at in stayed) + sum(read[at] for at in leaving)
    assert least <= recorded <= 1 + sum(generated[f"u{at}"] for at in range(REQUESTS))


async def test_a_trial_that_ends_stops_the_upstream(pair: Pair, served: Serving) -> None:
    """The client gets a complete stream, no longer than the trial; what the engine generated meanwhile is on record."""
    served.engine.step_turns = SLOW_STEP_TURNS
    said: list[str] = []
    ends: list[str] = []
    async with served.client("sk-trial") as client:
        stream = await client.chat.completions.create(
            model="llama", messages=[{"role": "user", "content": "?"}], max_tokens=TOKENS_MAX, stream=True, user="long"
        )
        async for chunk in stream:
            said += [choice.delta.content for choice in chunk.choices if choice.delta.content]
            ends += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]
    assert ends == ["length"]
    await until(lambda: not served.engine.running)
    (record,) = await records(served, pair.metering.address, TRIAL)
    assert 0 < record.usage.input_tokens + len(said) <= TRIAL_TOKENS
    assert len(said) <= record.usage.output_tokens <= served.engine.generated["long"] < TOKENS_MAX


async def test_routes_that_are_not_known_are_refused_and_free_ones_passed(served: Serving) -> None:
    """As by the middleware in a server."""
    async with httpx2.AsyncClient(base_url=served.url, timeout=PATIENCE_S) as client:
        assert (await client.post("/v1/unheard-of", json={})).status_code == 404
        assert (await client.get("/v1/models")).json() == {"path": "/v1/models"}


async def call(upstreams: list[str], settings: ProxySettings | None = None, **request: object) -> httpx2.Response:
    """One request through the proxy alone, without metering."""
    app = breaking_off(ProxyApp(read_upstreams(upstreams), settings or ProxySettings()))
    async with uvicorn_serving(app) as url, httpx2.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
        return await client.request("POST", "/v1/chat/completions?a=b%2Fc", **{"content": b"{}", **request})  # type: ignore[arg-type]


async def test_credentials_of_end_users_stay_here() -> None:
    """The upstream gets its own key, no header that was for this connection, and the path as it was."""
    async with raw_upstream(OK + b"Connection: x-private\r\nX-Private: 1\r\nContent-Length: 2\r\n\r\n{}") as upstream:
        answer = await call(
            [f"{upstream.url}/base/"],
            ProxySettings(upstream_key="sk-upstream"),
            headers={"Authorization": "Bearer sk-user", "X-Api-Key": "sk-user", "X-Kept": "yes"},
        )
        (head,) = upstream.requests
    assert answer.json() == {}
    assert "x-private" not in answer.headers
    assert head.startswith("POST /base/v1/chat/completions?a=b%2Fc HTTP/1.1\r\n")
    lower = head.lower()
    assert "sk-user" not in lower
    assert "authorization: bearer sk-upstream\r\n" in lower
    assert "x-kept: yes\r\n" in lower
    assert "accept-encoding: identity\r\n" in lower


async def test_a_model_is_asked_of_the_upstream_that_has_it() -> None:
    """Another one of the default upstream, and without such an upstream of nobody."""
    async with (
        raw_upstream(OK + b'Content-Length: 3\r\n\r\n"a"') as one,
        raw_upstream(OK + b'Content-Length: 3\r\n\r\n"b"') as two,
    ):
        upstreams = [f"llama={one.url}", two.url]
        assert (await call(upstreams, content=b'{"model": "llama"}')).json() == "a"
        assert (await call(upstreams, content=b'{"model": "mistral"}')).json() == "b"
        refused = await call(upstreams[:1], content=b'{"model": "mistral"}')
    assert refused.status_code == 404
    assert "mistral" in refused.json()["error"]["message"]


async def test_an_upstream_that_is_away_is_said_in_the_shape_of_the_api() -> None:
    """With no address in it: end users see no internals."""
    async with raw_upstream(b"") as upstream:
        url = upstream.url
    answer = await call([url])
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_unavailable"
    assert "127.0.0.1" not in answer.text


async def test_a_request_is_sent_once() -> None:
    """An upstream that closes without an answer may have run the model: the client says whether to ask again."""
    async with raw_upstream(b"") as upstream:
        assert (await call([upstream.url])).status_code == 502
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("read", "end", "pieces"),
    [
        (b"data: 1\n\ndata: 2\n\nda", b"\n\n", [b"data: 1\n\n", b"data: 2\n\n", b"da"]),
        (b"\n\n", b"\n\n", [b"\n\n"]),
        (b"ta: 3", b"\n\n", [b"ta: 3"]),
        (b"data: 1\r\n\r\ndata: 2\r\n\r\nda", b"\n\n", [b"data: 1\r\n\r\n", b"data: 2\r\n\r\n", b"da"]),
        (b"\n\r\ndata: 2\r\n\r", b"\n\n", [b"\n\r\ndata: 2\r\n\r"]),
        (b"{}\n{}\n", b"\n", [b"{}\n", b"{}\n"]),
        (b"", b"\n", []),
        (b"{}\n{}\n", b"", [b"{}\n{}\n"]),
    ],
)
def test_a_read_is_cut_into_events(read: bytes, end: bytes, pieces: list[bytes]) -> None:
    """No byte is lost or waits."""
    assert list(events_in(read, end)) == pieces


async def test_an_upstream_that_is_silent_has_failed() -> None:
    """After the time that the settings say."""
    async with raw_upstream(waits=True) as upstream:
        assert (await call([upstream.url], ProxySettings(silence_s=0.05))).status_code == 504


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 100\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_no_complete_one(answer: bytes) -> None:
    """The client's connection is closed, so that half an answer cannot be taken for a whole one."""
    async with raw_upstream(answer) as upstream:
        with pytest.raises(httpx2.RemoteProtocolError):
            await call([upstream.url])


async def test_a_client_that_leaves_ends_the_request_upstream() -> None:
    """Nothing is generated for nobody."""
    begun = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
    async with raw_upstream(begun, waits=True) as upstream:
        app = breaking_off(ProxyApp(read_upstreams([upstream.url]), ProxySettings()))
        async with uvicorn_serving(app) as url, httpx2.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
            async with client.stream("POST", "/v1/chat/completions", content=b"{}") as answer:
                async for _ in answer.aiter_raw():
                    break
            async with asyncio.timeout(PATIENCE_S):
                await upstream.has_ended.wait()
