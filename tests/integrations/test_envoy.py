"""Envoy with `tallygate envoy` beside it: metered to the token, stopped in the middle, refused in the routes' words."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tallygate._security import Security
from tallygate.control.v1 import lifecycle_service_pb2
from tests.harness.asgi.engine_harness import SERVICE, TRIAL, Serving, people, ready, records
from tests.harness.asgi.envoy_harness import serving_by_envoy
from tests.harness.asgi.fake_engine import TOKEN
from tests.harness.patience import PATIENCE_S, until
from tests.harness.programs.programs import Pair, start
from tests.harness.tls import Certificates

REQUESTS = 500
AT_ONCE = 50
SEED = 11
SLOW_STEP_TURNS = 100
TOKENS_MAX = 50_000
TRIAL_TOKENS = 200
STREAMS = 20
CHAT = "/v1/chat/completions"


@pytest.fixture
async def served(pair: Pair, tmp_path: Path) -> AsyncIterator[Serving]:
    """One node, one engine, Envoy between clients and it."""
    async with people(pair) as hands:
        await hands.prepare()
    async with serving_by_envoy([pair.metering.address], tmp_path) as served:
        async with served.client() as client:
            await ready(client)
        yield served


def asking(served: Serving, key: str = "sk-acme") -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=AT_ONCE)
    return httpx2.AsyncClient(
        base_url=served.url, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE_S, limits=limits
    )


def body(name: str, tokens: int, *, streams: bool) -> dict[str, Any]:
    content = {"model": "llama", "messages": [{"role": "user", "content": name}], "max_tokens": tokens, "user": name}
    return {**content, "stream": True} if streams else content


async def read_stream(client: httpx2.AsyncClient, content: dict[str, Any], leave_after: int | None = None) -> bytes:
    """What was read of a stream, to its end or until so many tokens have come."""
    read = b""
    async with client.stream("POST", CHAT, json=content) as answer:
        assert answer.status_code == 200
        async for piece in answer.aiter_raw():
            read += piece
            if leave_after is not None and read.count(TOKEN.encode()) >= leave_after:
                break
    return read


async def test_what_is_recorded_is_what_the_upstream_counted(pair: Pair, served: Serving) -> None:
    """Streamed and whole answers: exact for those that ended, and what had been read of those that clients left."""
    chance = random.Random(SEED)
    leaving = set(chance.sample(range(0, REQUESTS, 2), REQUESTS // 10))
    lengths = [chance.randint(8, 40) for _ in range(REQUESTS)]
    served.engine.pauses = {f"u{at}": chance.randint(1, lengths[at] - 1) for at in sorted(leaving)}
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(client: httpx2.AsyncClient, at: int) -> None:
        async with turn:
            content = body(f"u{at}", lengths[at], streams=at % 2 == 0)
            if at % 2:
                answer = await client.post(CHAT, json=content)
                assert answer.json()["usage"]["completion_tokens"] == lengths[at]
                return
            read = await read_stream(client, content, served.engine.pauses.get(f"u{at}"))
            assert read.endswith(b"data: [DONE]\n\n") is (at not in leaving)
            # It was asked for by the metering, not by the client.
            assert b'"usage"' not in read

    async with asking(served) as client:
        await asyncio.gather(*(ask(client, at) for at in range(REQUESTS)))
    await until(lambda: not served.engine.running)
    found = await records(served, pair.metering.address)
    expected = [1, *(served.engine.pauses.get(f"u{at}", lengths[at]) for at in range(REQUESTS))]
    assert sorted(record.usage.output_tokens for record in found) == sorted(expected)
    assert sum(record.estimated for record in found) == len(leaving)


async def test_a_service_that_is_stopped_ends_its_streams(pair: Pair, served: Serving) -> None:
    """Each client gets a complete stream, and the upstream stops generating."""
    served.engine.step_turns = SLOW_STEP_TURNS
    async with asking(served) as client, people(pair) as hands:
        reading = [
            asyncio.create_task(read_stream(client, body(f"s{at}", TOKENS_MAX, streams=True))) for at in range(STREAMS)
        ]
        await until(lambda: served.engine.first_tokens > STREAMS)
        await hands.lifecycle.DisablePostpaid(lifecycle_service_pb2.DisablePostpaidRequest(name=SERVICE))
        read = await asyncio.gather(*reading)
        await until(lambda: not served.engine.running)
        refused = await client.post(CHAT, json=body("after", 1, streams=False))
    assert all(one.endswith(b"data: [DONE]\n\n") for one in read)
    assert all(one.count(b'"finish_reason":"length"') == 1 for one in read)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "postpaid_disabled")
    found = await records(served, pair.metering.address)
    assert len(found) == STREAMS + 1
    recorded = sum(record.usage.output_tokens for record in found) - 1
    generated = sum(served.engine.generated[f"s{at}"] for at in range(STREAMS))
    assert sum(one.count(TOKEN.encode()) for one in read) <= recorded <= generated


async def test_a_trial_that_ends_stops_the_upstream(pair: Pair, served: Serving) -> None:
    """A stream ends where the trial ends; a whole answer is asked for no more than what is left."""
    served.engine.step_turns = SLOW_STEP_TURNS
    async with asking(served, "sk-trial") as client:
        whole = await client.post(CHAT, json={**body("whole", TOKENS_MAX, streams=False), "max_tokens": 120})
        read = await read_stream(client, body("long", TOKENS_MAX, streams=True))
        spent = await client.post(CHAT, json=body("spent", 100, streams=True))
    await until(lambda: not served.engine.running)
    assert whole.json()["usage"]["completion_tokens"] == served.engine.generated["whole"] == 120
    assert read.endswith(b"data: [DONE]\n\n")
    said = read.count(TOKEN.encode())
    assert 0 < said < TRIAL_TOKENS - 120
    assert spent.status_code == 402
    found = await records(served, pair.metering.address, TRIAL)
    recorded = sum(record.usage.output_tokens for record in found)
    # What the engine generated ahead of what was read of it is on record as well, as far as Envoy sent it here.
    assert 120 + said <= recorded <= 120 + served.engine.generated["long"] < TOKENS_MAX


async def test_the_program_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    """Its health tells that it lives, and it ends with 0; a setting that it cannot follow is refused at the start."""
    settings = {"TALLYGATE_METERING_ADDRESSES": "127.0.0.1:1", "TALLYGATE_SERVICE": SERVICE}
    arguments = ["envoy", "--listen", "127.0.0.1:0"]
    program = await start("tallygate.cli", arguments, tmp_path / "envoy.log", settings=settings)
    await program.stop()
    with pytest.raises(AssertionError, match="TALLYGATE_COUNT_INPUT is server"):
        settings["TALLYGATE_COUNT_INPUT"] = "server"
        await start("tallygate.cli", arguments, tmp_path / "refused.log", settings=settings)


async def test_only_an_envoy_with_a_certificate_is_served_where_one_is_asked_for(tmp_path: Path) -> None:
    """Whoever reaches the port may say what was used."""
    certificates = Certificates(tmp_path / "tls")
    server, client = certificates.server(), certificates.client()
    settings = {"TALLYGATE_METERING_ADDRESSES": "127.0.0.1:1", "TALLYGATE_SERVICE": SERVICE}
    tls = ["--tls-cert", str(server.certificate), "--tls-key", str(server.key), "--client-ca", str(certificates.ca)]
    shown = Security(certificates.ca, client.certificate, client.key)
    arguments = ["envoy", "--listen", "127.0.0.1:0", *tls]
    program = await start("tallygate.cli", arguments, tmp_path / "envoy.log", shown, settings=settings)
    async with grpc.aio.secure_channel(program.address, certificates.credentials()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    await program.stop()
