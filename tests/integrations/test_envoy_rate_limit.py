"""The rate-limit service behind a real Envoy, and before real services: what `deploy/envoy/ratelimit.yaml` counts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx2
import openai
import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.envoy.app import EnvoyUpstream
from tallygate.integrations.envoy.serve import Servicers, serving
from tallygate.integrations.ratelimit.open_requests import OpenRequests
from tallygate.metering.v1 import request_usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from tests.harness.asgi import envoy_harness
from tests.harness.asgi.engine_harness import RETRIES_MAX, SERVICE, SERVICES, TRIAL, people, ready, uvicorn_serving
from tests.harness.asgi.envoy_harness import port_of, running_envoy
from tests.harness.asgi.fake_engine import FakeEngine
from tests.harness.asgi.raw_upstream import RawUpstream, raw_upstream
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S, until, until_found
from tests.harness.ports import held_port
from tests.harness.programs.programs import Pair

ENDED = {request_usage_pb2.SETTLEMENT_STATE_FINISHED, request_usage_pb2.SETTLEMENT_STATE_TIMED_OUT}
BEARER = {"authorization": "Bearer sk-acme"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
MOMENT_S = 0.3
"""Time for which nothing may happen: on a slow machine the test then sees less."""
REQUESTS = 20
SAMPLE = envoy_harness.SAMPLE.with_name("ratelimit.yaml")


@asynccontextmanager
async def limited(pair: Pair, upstream: str, folder: Path) -> AsyncIterator[tuple[str, OpenRequests]]:
    """An Envoy by the sample, and the server that it asks, before a node; its URL, and what is open."""
    client = MeteringClient(pair.metering.address, settings=PATIENT)
    servicers = Servicers(MeteringMiddleware(EnvoyUpstream(), client=client, services=SERVICES))
    async with (
        serving("127.0.0.1:0", servicers, grace_s=0) as tallygate,
        running_envoy(folder, upstream=port_of(upstream), tallygate=tallygate, sample=SAMPLE) as url,
    ):
        yield url, servicers._limits.requests


@pytest.fixture
async def url(pair: Pair, tmp_path: Path) -> AsyncIterator[str]:
    """An engine behind Envoy, metered by one node."""
    async with people(pair) as hands:
        await hands.prepare()
    async with (
        uvicorn_serving(FakeEngine(), lifespan="off") as engine,
        limited(pair, engine, tmp_path) as (url, _),
    ):
        async with client_of(url) as client:
            await ready(client)
        yield url


def client_of(
    url: str, api_key: str = "sk-acme", *, max_retries: int = RETRIES_MAX, headers: Mapping[str, str] | None = None
) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key=api_key, max_retries=max_retries, timeout=PATIENCE_S, default_headers=headers
    )


async def counted(pair: Pair, service: str, number: int) -> list[request_usage_pb2.RequestUsage]:
    """The finished records of a service, once there are so many; Envoy counts after its clients have their answers."""
    found: list[request_usage_pb2.RequestUsage] = []

    async def look() -> bool:
        page = usage_service_pb2.ListRequestUsageRequest(service=service, page_size=1_000)
        async with grpc.aio.insecure_channel(pair.metering.address) as channel:
            answer = await usage_service_pb2_grpc.UsageServiceStub(channel).ListRequestUsage(page)
        found[:] = [each for each in answer.request_usages if each.state in ENDED]
        return len(found) >= number

    await until_found(look)
    return found


def event(usage: dict[str, int] | None) -> bytes:
    """An event of a stream, as a chunk of HTTP."""
    data = f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


async def leave_after(
    upstream: RawUpstream, pair: Pair, folder: Path, *, events: int, is_counted: bool
) -> OpenRequests:
    """A client of an Envoy of its own that leaves after so many events; what was open after that."""
    async with (
        limited(pair, upstream.url, folder) as (url, requests),
        httpx2.AsyncClient(timeout=PATIENCE_S) as client,
    ):
        ask: Any = {"json": {"model": "llama"}, "headers": BEARER}
        has_read = False
        while not has_read:
            async with client.stream("POST", f"{url}/v1/chat/completions", **ask) as answer:
                lines = answer.aiter_lines()
                # Else it is refused for now, since control is slow.
                has_read = answer.status_code == httpx2.codes.OK
                for _ in range(2 * events if has_read else 0):
                    await anext(lines)
        await asyncio.wait_for(upstream.has_ended.wait(), PATIENCE_S)
        if is_counted:
            await until(lambda: requests.counts["counted"] and not len(requests))
        else:
            await asyncio.sleep(MOMENT_S)
        return requests


async def complete(client: openai.AsyncOpenAI, name: str, tokens: int, *, streams: bool) -> tuple[int, int]:
    """Asks for so many tokens; what the upstream said that it counted."""
    ask: Any = {"model": "llama", "messages": [{"role": "user", "content": name}], "max_tokens": tokens}
    usage: Any = None
    if streams:
        ask |= {"stream": True, "stream_options": {"include_usage": True}}
        async for chunk in await client.chat.completions.create(**ask):
            usage = chunk.usage or usage
    else:
        usage = (await client.chat.completions.create(**ask)).usage
    return usage.prompt_tokens, usage.completion_tokens


async def test_what_the_upstream_counted_is_recorded(pair: Pair, url: str) -> None:
    """Streamed and whole, to the token, each request once: also where clients all say the same request id."""
    async with client_of(url, headers={"x-request-id": "mine"}) as client:
        asking = (complete(client, "x" * at, 3 + at, streams=at % 2 == 0) for at in range(REQUESTS))
        said = await asyncio.gather(*asking)
    records = await counted(pair, SERVICE, REQUESTS + 1)
    recorded = ((record.usage.input_tokens, record.usage.output_tokens) for record in records)
    assert sorted(counts for counts in recorded if counts[1] > 1) == sorted(said)
    assert {record.state for record in records} == {request_usage_pb2.SETTLEMENT_STATE_FINISHED}


async def test_running_usage_counts_what_a_client_breaks_off(pair: Pair, url: str, tmp_path: Path) -> None:
    """To the token that was said last; without running usage nothing is said of it, and the request waits."""
    running = (event({"prompt_tokens": 7, "completion_tokens": said}) for said in (1, 2, 3))
    async with raw_upstream(HEAD, *running, waits=True) as upstream:
        requests = await leave_after(upstream, pair, tmp_path, events=3, is_counted=True)
    assert (requests.counts["counted"], len(requests)) == (1, 0)
    recorded = ((record.usage.input_tokens, record.usage.output_tokens) for record in await counted(pair, SERVICE, 2))
    assert (7, 3) in recorded
    async with raw_upstream(HEAD, event(None), waits=True) as upstream:
        requests = await leave_after(upstream, pair, tmp_path, events=1, is_counted=False)
    assert (requests.counts["counted"], len(requests)) == (0, 1)


async def test_refusals_reach_clients_as_the_api_says_them(url: str) -> None:
    """With Envoy's one status for all of them, and our body and headers."""
    async with client_of(url, "sk-poor") as client:
        with pytest.raises(openai.RateLimitError) as raised:
            await complete(client, "?", 3, streams=False)
    assert raised.value.code == "not_enabled"
    assert raised.value.response.headers["x-tallygate-reason"] == "not_enabled"
    assert raised.value.response.headers["content-type"] == "application/json"
    async with client_of(url, "sk-nobody") as client:
        with pytest.raises(openai.RateLimitError) as raised:
            await complete(client, "?", 3, streams=False)
    assert raised.value.code == "invalid_api_key"


async def test_what_envoy_could_not_ask_about_does_not_pass(url: str) -> None:
    """Without a key, on another route, or by another method it would make no descriptor, and ask nobody."""
    async with httpx2.AsyncClient(timeout=PATIENCE_S) as client:
        body = {"model": "llama", "messages": []}
        assert (await client.post(f"{url}/v1/chat/completions", json=body)).status_code == 404
        assert (await client.post(f"{url}/v1/responses", json=body, headers=BEARER)).status_code == 404
        assert (await client.post(f"{url}//v1/chat/completions", json=body)).status_code == 404
        assert (await client.get(f"{url}/v1/models")).status_code == 200


async def test_a_trial_ends_where_it_ends(pair: Pair, url: str) -> None:
    """A gate lets requests through while there is something left, and counts what they took beyond it."""
    async with client_of(url, "sk-trial") as client:
        with pytest.raises(openai.RateLimitError) as raised:
            for at in range(1, 20):
                await complete(client, "?", 60, streams=True)
                await counted(pair, TRIAL, at)
    assert raised.value.code in {"trial_exhausted", "trial_insufficient"}
    records = await counted(pair, TRIAL, 4)
    assert 200 <= sum(record.usage.output_tokens + record.usage.input_tokens for record in records) < 400


async def test_without_tallygate_nothing_passes(tmp_path: Path) -> None:
    """The sample says so; by default Envoy would let everything through."""
    engine = FakeEngine()
    async with (
        uvicorn_serving(engine, lifespan="off") as upstream,
        running_envoy(tmp_path, upstream=port_of(upstream), tallygate=held_port(), sample=SAMPLE) as url,
        client_of(url, max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError) as raised:
            await complete(client, "?", 3, streams=False)
    assert raised.value.status_code == 503
    assert not engine.first_tokens
