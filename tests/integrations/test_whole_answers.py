"""Answers that come as a whole, and many at once: what is held is never more than there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import openai
import pytest

from tallygate.control.v1 import account_service_pb2, catalog_service_pb2, lifecycle_service_pb2
from tests.harness.asgi import engine_harness, fake_engine
from tests.harness.asgi.engine_harness import Serving, people, records
from tests.harness.patience import until
from tests.harness.programs.programs import Pair

FEW = "accounts/few/services/default-llama"
TRIED = "accounts/tried/services/default-short"
BALANCE_NANOS = 20_000_000
"""0.02 USD: at 2 USD per million tokens, 10,000 tokens of output."""
OUTPUT_NANOS = 2_000
AT_ONCE, FUNDED = 20, 2
ASK: Mapping[str, Any] = {"model": "llama", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4_000}


@pytest.fixture
async def few(pair: Pair, served: Serving, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serving]:
    """An account with 0.02 USD and no credit, and one with a trial of 400 tokens."""
    keys = {**engine_harness.SERVICES["keys"], "sk-few": "few", "sk-tried": "tried"}
    monkeypatch.setitem(engine_harness.SERVICES, "keys", keys)
    async with people(pair) as hands:
        model = catalog_service_pb2.CreateModelRequest(name="models/short")
        model.trial_offer.quota_tokens = 400
        await hands.catalog.CreateModel(model)
        for account in ("accounts/few", "accounts/tried"):
            await hands.accounts.CreateAccount(account_service_pb2.CreateAccountRequest(name=account))
        money = account_service_pb2.TopUpAccountRequest(name="accounts/few", amount_nanos=BALANCE_NANOS)
        await hands.accounts.TopUpAccount(money)
        await hands.lifecycle.EnablePostpaid(lifecycle_service_pb2.EnablePostpaidRequest(name=FEW))
        await hands.lifecycle.ClaimFreeTrial(lifecycle_service_pb2.ClaimFreeTrialRequest(name=TRIED))
    async with engine_harness.serving([pair.metering.address]) as few:
        yield few


async def spent_nanos(pair: Pair, few: Serving) -> int:
    """What all requests of the account cost, once they are on record."""
    found = await records(few, pair.metering.address, FEW)
    return sum(int(record.receipt.cost_nanos) for record in found)


async def ready(client: openai.AsyncOpenAI, model: str) -> None:
    """Until the fleet knows the service; nothing is generated for it."""
    patient = client.with_options(max_retries=engine_harness.RETRIES_MAX)
    await patient.embeddings.create(model=model, input="?", encoding_format="float")


async def test_whole_answers_at_once_are_held_as_a_whole(pair: Pair, few: Serving) -> None:
    """Of twenty that may each take 4,000 tokens, two fit into 10,000; the others may come back.

    They do so until two run, since fewer may begin where control is slow; and all of them once more.
    """
    async with few.client("sk-few", max_retries=0) as client:
        await ready(client, "llama")
        few.engine.gate.clear()
        refused: list[openai.APIStatusError] = []

        async def ask() -> int:
            two_ran = False
            while not two_ran:
                two_ran = few.engine.running == FUNDED
                try:
                    answer = await client.chat.completions.create(**ASK)
                except (openai.RateLimitError, openai.InternalServerError) as error:
                    refused.append(error)
                    continue
                assert answer.usage is not None
                return int(answer.usage.completion_tokens)
            return 0

        asking = [asyncio.create_task(ask()) for _ in range(AT_ONCE)]
        await until(lambda: sum(task.done() for task in asking) == AT_ONCE - FUNDED)
        assert few.engine.running == FUNDED
        few.engine.gate.set()
        assert sorted(await asyncio.gather(*asking)) == [0] * 18 + [4_000] * FUNDED
    assert "budget_contended" in {error.code for error in refused}
    assert all(int(error.response.headers["retry-after"]) >= 1 for error in refused)
    assert await spent_nanos(pair, few) <= BALANCE_NANOS


async def test_streams_at_once_spend_what_there_is(pair: Pair, few: Serving) -> None:
    """At most one chunk a stream beyond it."""
    async with few.client("sk-few", max_retries=0) as client:
        await ready(client, "llama")

        async def ask() -> int:
            try:
                stream = await client.chat.completions.create(**ASK, stream=True)
            except openai.APIStatusError:
                return 0
            return sum([bool(chunk.choices and chunk.choices[0].delta.content) async for chunk in stream])

        delivered = 0
        while delivered <= 1_000:
            delivered += sum(await asyncio.gather(*(ask() for _ in range(AT_ONCE))))
    assert await spent_nanos(pair, few) <= BALANCE_NANOS + AT_ONCE * OUTPUT_NANOS


async def test_a_server_is_told_how_little_is_left(pair: Pair, few: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for no limit, a server that would make 4,000 tokens makes what is left of the trial, and nobody pays."""
    monkeypatch.setattr(fake_engine, "DEFAULT_TOKENS", 4_000)
    asked = {"model": "short", "messages": ASK["messages"]}
    async with few.client("sk-tried") as client:
        await ready(client, "short")
        answer = await client.chat.completions.create(**asked)
        assert answer.usage is not None
        assert 300 < answer.usage.completion_tokens < 400
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(**asked, n=30)
        assert refused.value.status_code in {402, 403}
    found = await records(few, pair.metering.address, TRIED)
    assert sum(record.receipt.overrun_tokens for record in found) == 0
