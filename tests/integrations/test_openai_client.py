"""The real openai client, through uvicorn and the middleware, metered by the real services."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx2
import openai
import pytest

from tallygate.control.v1 import lifecycle_service_pb2
from tallygate.integrations.asgi import MeteringMiddleware
from tests.harness.asgi.engine_harness import SERVICE, TRIAL, Serving, people, records, serving, uvicorn_serving
from tests.harness.asgi.fake_engine import TOKEN, FakeEngine
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S, until
from tests.harness.programs.programs import Pair

ASK: Mapping[str, Any] = {"model": "Meta/Llama", "messages": [{"role": "user", "content": "What is it? " * 10}]}


async def recorded(pair: Pair, served: Serving) -> tuple[int, int, int]:
    """Input and output tokens on record, and how many records are estimates."""
    found = await records(served, pair.metering.address)
    went_in = sum(record.usage.input_tokens + record.usage.cached_input_tokens for record in found)
    came_out = sum(record.usage.output_tokens + record.usage.reasoning_tokens for record in found)
    return went_in, came_out, sum(record.estimated for record in found)


async def test_all_four_apis_streamed_and_not(pair: Pair, served: Serving) -> None:
    """Every answer arrives whole, usage is there where it was asked for, and all of it is recorded, to the token."""
    async with served.client() as client:
        before = await recorded(pair, served)
        went_in = 0
        chat = await client.chat.completions.create(**ASK, max_tokens=20, n=2)
        assert chat.usage is not None
        assert [choice.message.content for choice in chat.choices] == [TOKEN * 20] * 2
        went_in += chat.usage.prompt_tokens
        chunks = [chunk async for chunk in await client.chat.completions.create(**ASK, max_tokens=20, n=2, stream=True)]
        assert all(chunk.usage is None and chunk.choices for chunk in chunks)
        assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) == 40
        went_in += chat.usage.prompt_tokens
        options: Any = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = [chunk async for chunk in await client.chat.completions.create(**ASK, max_tokens=7, **options)]
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 7
        went_in += chunks[-1].usage.prompt_tokens
        text = await client.completions.create(model="llama", prompt="Once upon a time", max_tokens=9)
        assert (text.choices[0].text, text.usage is not None) == (TOKEN * 9, True)
        stream = await client.completions.create(model="llama", prompt="Once upon a time", max_tokens=9, stream=True)
        assert [chunk.choices[0].text async for chunk in stream] == [*[TOKEN] * 9, ""]
        answer = await client.responses.create(model="llama", input="Say something", max_output_tokens=8)
        assert answer.output_text == TOKEN * 8
        events = [event async for event in await client.responses.create(model="llama", input="Say", stream=True)]
        assert events[-1].type == "response.completed"
        vectors = await client.embeddings.create(model="llama", input="Say something", encoding_format="float")
        assert len(vectors.data[0].embedding) == 8
    went_in += 4 + 4 + 4 + 1 + 4
    now = await recorded(pair, served)
    assert (now[0] - before[0], now[1] - before[1], now[2]) == (went_in, 40 + 40 + 7 + 9 + 9 + 8 + 16, 0)
    assert now[1] == served.engine.generated.total()


async def test_refusals_are_the_exceptions_that_clients_know(pair: Pair, served: Serving) -> None:
    """Each by its status, with a reason for programs and a sentence for people, and before the model runs."""
    generated = served.engine.generated.total()
    async with served.client("sk-poor") as client:
        with pytest.raises(openai.PermissionDeniedError) as denied:
            await client.chat.completions.create(**ASK, max_tokens=5)
        assert (denied.value.code, denied.value.type) == ("not_enabled", "permission_denied")
        assert denied.value.response.headers["x-tallygate-request-id"]
        patient = client.with_options(api_key="sk-trial")
        with pytest.raises(openai.APIStatusError) as broke:
            await patient.completions.create(model="llama", prompt="x" * 4_000)
        assert (broke.value.status_code, broke.value.code) == (402, "trial_insufficient")
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(model="No/Such", messages=[])
        assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(model="no-such", messages=[])
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="sk-nobody").chat.completions.create(**ASK)
        with pytest.raises(openai.BadRequestError):
            await client.responses.create(model="llama", input="x", background=True)
    assert served.engine.generated.total() == generated


async def test_a_node_that_is_away_is_an_exception_that_clients_know() -> None:
    """They hear when to come back, and the model does not run."""
    cut_off = replace(PATIENT, answer_ms=100)
    async with serving(["127.0.0.1:1"], settings=cut_off) as served, served.client(max_retries=0) as client:
        with pytest.raises(openai.InternalServerError) as unreachable:
            await client.chat.completions.create(**ASK)
        assert (unreachable.value.status_code, unreachable.value.code) == (503, "unreachable")
        assert int(unreachable.value.response.headers["retry-after"]) >= 1
    assert not served.engine.generated


async def test_a_trial_that_runs_out_ends_streams_at_their_last_token(pair: Pair, served: Serving) -> None:
    """Several streams share 200 tokens of a trial: all end cleanly, with nothing generated that nobody pays for."""
    async with served.client("sk-trial") as client:

        async def one() -> list[str | None]:
            stream = await client.chat.completions.create(
                model="llama", messages=[{"role": "user", "content": "Hi"}], max_tokens=150, stream=True, user="trial"
            )
            return [choice.finish_reason async for chunk in stream for choice in chunk.choices]

        ends = await asyncio.gather(*(one() for _ in range(2)), return_exceptions=True)
    streams = [end for end in ends if isinstance(end, list)]
    assert streams
    assert all(end[-1] == "length" and not any(end[:-1]) for end in streams)
    found = await records(served, pair.metering.address, TRIAL)
    assert sum(record.usage.output_tokens for record in found) == served.engine.generated["trial"]
    assert sum(record.receipt.overrun_tokens for record in found) == 0
    assert sum(record.receipt.trial.input_tokens + record.receipt.trial.cached_input_tokens for record in found) > 0


async def test_a_service_that_stops_ends_its_open_streams(pair: Pair, served: Serving) -> None:
    """Though the model says nothing meanwhile; clients see a proper end, and the model is let go."""
    served.engine.gate.clear()
    served.engine.at_least = 4
    async with served.client() as client, people(pair) as hands:
        chats = [
            await client.chat.completions.create(**ASK, max_tokens=1_000, stream=True, user=f"u{at}", n=2)
            for at in range(20)
        ]
        answers = [
            await client.responses.create(model="llama", input="x", max_output_tokens=1_000, stream=True, user=f"r{at}")
            for at in range(5)
        ]
        openings = [[await anext(chat) for _ in range(10)] for chat in chats]
        begun = [[await anext(answer) for _ in range(6)] for answer in answers]
        request = lifecycle_service_pb2.SuspendInferenceServiceRequest(name=SERVICE)
        async with asyncio.timeout(PATIENCE_S):
            await hands.lifecycle.SuspendInferenceService(request)
            rests = [[chunk async for chunk in chat] for chat in chats]
            await until(lambda: not served.engine.running)
        # Out of time, because the openai client thinks for seconds when it meets this kind of event first.
        ends = [[event async for event in answer] for answer in answers]
    for opening, rest in zip(openings, rests, strict=True):
        said = [choice for chunk in [*opening, *rest] for choice in chunk.choices]
        assert sorted(choice.index for choice in said if choice.finish_reason == "length") == [0, 1]
    for begin, end in zip(begun, ends, strict=True):
        last = end[-1]
        assert last.type == "response.incomplete"
        assert last.response.incomplete_details is not None
        assert last.response.incomplete_details.reason == "max_output_tokens"
        texts = [event for event in [*begin, *end] if event.type == "response.output_text.delta"]
        assert last.response.output_text == TOKEN * len(texts)
    _, came_out, _ = await recorded(pair, served)
    assert came_out == served.engine.generated.total()


async def test_no_lifespan_is_no_problem(pair: Pair, served: Serving) -> None:
    """Where a server runs none, the client starts with the first request."""
    async with serving([pair.metering.address], lifespan="off") as bare, bare.client() as client:
        answer = await client.chat.completions.create(**ASK, max_tokens=3)
        assert answer.choices[0].message.content == TOKEN * 3
        await bare.metering.close()


async def test_the_environment_is_enough(pair: Pair, served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a server makes it that knows nothing but the class; every answer names its record."""
    monkeypatch.setenv("TALLYGATE_METERING_ADDRESSES", pair.metering.address)
    monkeypatch.setenv("TALLYGATE_SERVICE", SERVICE)
    async with (
        uvicorn_serving(MeteringMiddleware(FakeEngine())) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-any") as client,
    ):
        answer = await client.chat.completions.with_raw_response.create(**ASK, max_tokens=3)
        request_id = answer.headers["x-tallygate-request-id"]
        async with httpx2.AsyncClient(timeout=PATIENCE_S) as plain:
            assert (await plain.get(f"{url}/health")).json() == {"path": "/health"}
    found = {record.request_id: record for record in await records(served, pair.metering.address)}
    assert found[request_id].usage.output_tokens == 3
    assert found[request_id].credential == ""  # Nobody has this key.


async def test_what_a_client_sends_arrives_at_the_model_as_it_was(served: Serving) -> None:
    """Byte for byte, but for the request for usage; and answers that are not metered pass as they are."""
    async with served.client() as client:
        one, two = [
            await client.chat.completions.with_raw_response.create(**ASK, max_tokens=3, user=user) for user in "ab"
        ]
    assert one.headers["x-tallygate-request-id"] != two.headers["x-tallygate-request-id"]
    assert [served.engine.generated[user] for user in "ab"] == [3, 3]
    assert one.http_response.content == two.http_response.content
