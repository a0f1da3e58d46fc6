"""The callback in the real LiteLLM proxy, in front of the fake engine: `make test-litellm`."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anthropic
import grpc
import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam

from tallygate.control.v1 import lifecycle_service_pb2, lifecycle_service_pb2_grpc
from tallygate.metering.v1 import request_usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from tests.harness.asgi.engine_harness import SERVICE, TRIAL, people, ready, uvicorn_serving
from tests.harness.asgi.fake_engine import FakeEngine
from tests.harness.patience import PATIENCE_S, until, until_found
from tests.harness.programs.litellm_proxy import LITELLM, litellm_proxy
from tests.harness.programs.programs import Pair

if not LITELLM.exists():
    pytest.skip("LiteLLM is not there: run `make test-litellm`", allow_module_level=True)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.hang_limit(1_200)]

REQUESTS = 500
AT_ONCE = 25
SEED = 7
WORKERS = ("--num_workers", "2", "--timeout_worker_healthcheck", "120")
TOKENS_MAX = 50_000
SLOW_STEP_TURNS = 200
PASSES_USER = {"allowed_openai_params": ["user"]}
"""By itself, LiteLLM passes `user` on only for models of OpenAI's."""
MAP = """
[keys]
sk-acme = "acme"
sk-trial = "trial"
sk-poor = "poor"
"""


@dataclass(eq=False)
class Served:
    """What tests have in hand."""

    pair: Pair
    engine: FakeEngine
    url: str

    def client(self, api_key: str = "sk-acme") -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=api_key, max_retries=0, timeout=PATIENCE_S)

    async def records(self, service: str = SERVICE) -> list[request_usage_pb2.RequestUsage]:
        found: list[request_usage_pb2.RequestUsage] = []
        page = usage_service_pb2.ListRequestUsageRequest(service=service, page_size=1_000)
        async with grpc.aio.insecure_channel(self.pair.metering.address) as channel:
            while True:
                answer = await usage_service_pb2_grpc.UsageServiceStub(channel).ListRequestUsage(page)
                found += answer.request_usages
                page.page_token = answer.next_page_token
                if not page.page_token:
                    return found

    async def ids(self) -> set[str]:
        """Ids of all requests on record."""
        return {record.request_id for record in await self.records()}

    async def new_records(self, before: set[str], count: int) -> list[request_usage_pb2.RequestUsage]:
        """Records beyond those before, once there are so many, and none of them runs."""

        async def are_there() -> bool:
            settled = {record.request_id for record in await self.records() if record.HasField("settle_time")}
            return len(settled - before) >= count

        await until_found(are_there)
        return [record for record in await self.records() if record.request_id not in before]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """Both services, the fake engine, and LiteLLM with two processes between it and clients."""
    folder: Path = tmp_path_factory.mktemp("litellm")
    (folder / "services.toml").write_text(MAP)
    pair = Pair(folder, f"sqlite:///{folder}/control.sqlite3", f"sqlite:///{folder}/metering.sqlite3")
    try:
        await pair.start_control()
        await pair.start_node("node-1")
        async with people(pair) as hands:
            await hands.prepare()
        engine = FakeEngine()
        async with uvicorn_serving(engine, lifespan="off") as upstream:
            environment = {
                "UPSTREAM_URL": f"{upstream}/v1",
                "UPSTREAM_KEY": "sk-upstream",
                "LITELLM_MASTER_KEY": "sk-master",
                "TALLYGATE_METERING_ADDRESSES": pair.metering.address,
                "TALLYGATE_SERVICES": str(folder / "services.toml"),
            }
            async with litellm_proxy(folder, environment, *WORKERS) as url:
                served = Served(pair, engine, url)
                async with served.client() as client:
                    await ready(client)
                yield served
        await pair.stop()
    finally:
        await pair.kill()


async def ask(client: openai.AsyncOpenAI, name: str, tokens: int, *, streams: bool, leave_after: int | None) -> int:
    """Asks for so many tokens, reads the answer or leaves; returns the number of pieces of text that were read."""
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": name}]
    if not streams:
        whole = await client.chat.completions.create(
            model="llama", messages=messages, max_tokens=tokens, user=name, extra_body=PASSES_USER
        )
        assert whole.usage is not None
        return whole.usage.completion_tokens
    read = 0
    stream = await client.chat.completions.create(
        model="llama", messages=messages, max_tokens=tokens, stream=True, user=name, extra_body=PASSES_USER
    )
    async for chunk in stream:
        read += sum(bool(choice.delta.content) for choice in chunk.choices)
        if leave_after is not None and read >= leave_after:
            await stream.close()
            break
    return read


async def test_what_is_recorded_is_what_the_upstream_counted(served: Served) -> None:
    """Streamed and whole answers in two processes, a tenth of the clients leaving: exact for those that ended.

    Of those that were left it is what LiteLLM had read: at least what the client had, at most what was generated.
    """
    chance = random.Random(SEED)
    leaving = set(chance.sample(range(0, REQUESTS, 2), REQUESTS // 10))
    lengths = [chance.randint(8, 40) for _ in range(REQUESTS)]
    before = await served.ids()
    room = asyncio.Semaphore(AT_ONCE)

    async def one(client: openai.AsyncOpenAI, at: int) -> int:
        async with room:
            leaves = 3 if at in leaving else None
            return await ask(client, f"u{at}", lengths[at], streams=at % 2 == 0, leave_after=leaves)

    # What a busy node has not answered in time is asked again.
    async with served.client().with_options(max_retries=20) as client:
        read = await asyncio.gather(*(one(client, at) for at in range(REQUESTS)))
    await until(lambda: not served.engine.running)
    found: list[request_usage_pb2.RequestUsage] = []

    async def are_there() -> bool:
        # A call that was answered too late, and asked again, is on record as well: of nothing.
        new = [record for record in await served.records() if record.request_id not in before]
        found[:] = [record for record in new if record.usage.input_tokens or record.usage.output_tokens]
        return len(found) >= REQUESTS and all(record.HasField("settle_time") for record in found)

    await until_found(are_there)
    generated = served.engine.generated
    stayed = [at for at in range(REQUESTS) if at not in leaving]
    assert [read[at] for at in stayed] == [lengths[at] for at in stayed] == [generated[f"u{at}"] for at in stayed]
    assert len(found) == REQUESTS
    exact = Counter(record.usage.output_tokens for record in found if not record.estimated)
    # A client that left at the very end has left a whole stream.
    assert Counter(lengths[at] for at in stayed) <= exact
    recorded = sum(record.usage.output_tokens for record in found)
    ended = sum(lengths[at] for at in stayed)
    assert ended + sum(read[at] for at in leaving) <= recorded
    assert recorded <= ended + sum(generated[f"u{at}"] for at in leaving)


async def test_all_apis_are_counted_as_their_server_counts(served: Served) -> None:
    """Completions, responses, Anthropic's messages and embeddings; with and without a stream."""
    before = await served.ids()
    async with served.client() as client:
        await client.completions.create(model="llama", prompt="?", max_tokens=21)
        async for _completion in await client.completions.create(model="llama", prompt="?", max_tokens=21, stream=True):
            pass
        await client.responses.create(model="llama", input="?", max_output_tokens=22)
        async for _event in await client.responses.create(model="llama", input="?", max_output_tokens=22, stream=True):
            pass
        await client.embeddings.create(model="llama", input="a long text to embed")
    async with anthropic.AsyncAnthropic(base_url=served.url, api_key="sk-acme", max_retries=0) as client:
        said: list[anthropic.types.MessageParam] = [{"role": "user", "content": "?"}]
        await client.messages.create(model="llama", messages=said, max_tokens=23)
        async with client.messages.stream(model="llama", messages=said, max_tokens=23) as events:
            await events.get_final_message()
    found = await served.new_records(before, 7)
    assert not any(record.estimated for record in found)
    assert sorted(record.usage.output_tokens for record in found) == [0, 21, 21, 22, 22, 23, 23]
    assert all(record.usage.input_tokens for record in found)


async def test_refusals_are_what_clients_understand(served: Served) -> None:
    """The status, the code and the header by which clients know what to do, in the words of each API; not billed."""
    before = await served.ids()
    async with served.client("sk-poor") as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await ask(client, "poor", 5, streams=True, leave_after=None)
    assert refused.value.status_code == 403
    assert refused.value.code == "not_enabled"
    async with served.client("sk-nobody") as client:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await ask(client, "nobody", 5, streams=False, leave_after=None)
    assert unknown.value.code == "invalid_api_key"
    assert unknown.value.response.headers["www-authenticate"] == "Bearer"
    async with anthropic.AsyncAnthropic(base_url=served.url, api_key="sk-poor", max_retries=0) as client:
        with pytest.raises(anthropic.PermissionDeniedError) as denied:
            await client.messages.create(model="llama", messages=[{"role": "user", "content": "?"}], max_tokens=9)
    assert denied.value.body["error"]["type"] == "permission_error"  # type: ignore[index]
    async with served.client() as client:
        for path, said in (
            ("/v1/rerank", "TALLYGATE_ROUTES"),
            ("/v1/chat/completions", "leave it out"),
            ("/queue/chat/completions", "TALLYGATE_ROUTES"),
            ("/v1/rag/query", "TALLYGATE_ROUTES"),
            ("/v1/threads/thread_1/runs", "TALLYGATE_ROUTES"),
            ("/health/test_connection", "TALLYGATE_ROUTES"),
            ("/policy/templates/suggest", "TALLYGATE_ROUTES"),
        ):
            body = {"model": "llama", "query": "?", "documents": ["a"], "messages": [], "extra_body": {"n": 9}}
            with pytest.raises(openai.APIStatusError, match=said):
                await client.post(f"{served.url}{path}", body={**body, "priority": 0}, cast_to=object)
    assert await served.ids() == before


async def test_what_fails_upstream_costs_nothing_and_what_is_asked_again_costs_once(served: Served) -> None:
    """LiteLLM asks an upstream that fails once more; its client gets one answer, or none."""
    before = await served.ids()
    async with served.client() as client:
        served.engine.failures_left = 1
        assert await ask(client, "again", 9, streams=False, leave_after=None) == 9
        served.engine.failures_left = 1_000
        with pytest.raises(openai.APIStatusError):
            await ask(client, "never", 9, streams=False, leave_after=None)
        served.engine.failures_left = 0
    found = await served.new_records(before, 2)
    assert sorted(record.usage.output_tokens for record in found) == [0, 9]
    assert sorted(record.usage.input_tokens > 0 for record in found) == [False, True]


@pytest.mark.parametrize("streams", [False, True])
async def test_a_client_that_leaves_before_anything_came_holds_nothing(served: Served, streams: bool) -> None:
    """No hook hears of it: its request ends all the same, by its input."""
    before = await served.ids()
    served.engine.is_silent = True
    async with served.client() as client:
        asking = asyncio.create_task(ask(client, "gone", 9, streams=streams, leave_after=None))
        await until(lambda: served.engine.running)
        asking.cancel()
        await asyncio.wait({asking})
    await until(lambda: not served.engine.running)
    served.engine.is_silent = False
    (record,) = await served.new_records(before, 1)
    assert record.estimated
    assert (record.usage.input_tokens > 0, record.usage.output_tokens) == (True, 0)


async def test_a_trial_that_ends_ends_the_stream(served: Served) -> None:
    """The client gets a complete stream, no longer than the trial."""
    said: list[str] = []
    ends: list[str] = []
    served.engine.step_turns = SLOW_STEP_TURNS
    async with served.client("sk-trial") as client:
        stream = await client.chat.completions.create(
            model="llama",
            messages=[{"role": "user", "content": "?"}],
            max_tokens=TOKENS_MAX,
            stream=True,
            user="long",
            extra_body=PASSES_USER,
        )
        async for chunk in stream:
            said += [choice.delta.content for choice in chunk.choices if choice.delta.content]
            ends += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]
    assert ends == ["length"]
    await until(lambda: not served.engine.running)

    async def is_there() -> bool:
        return len(await served.records(TRIAL)) == 1

    await until_found(is_there)
    (record,) = await served.records(TRIAL)
    assert record.usage.input_tokens + len(said) <= 200
    assert len(said) <= record.usage.output_tokens <= served.engine.generated["long"] < TOKENS_MAX


async def test_a_service_that_stops_ends_its_streams(served: Served) -> None:
    """Each of them within a second, with a complete body; the engine generates no more. Last: nothing runs after it."""
    served.engine.step_turns = SLOW_STEP_TURNS
    ends: list[str] = []
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def listen(client: openai.AsyncOpenAI, at: int) -> None:
        stream = await client.chat.completions.create(
            model="llama",
            messages=[{"role": "user", "content": "?"}],
            max_tokens=TOKENS_MAX,
            stream=True,
            user=f"s{at}",
            extra_body=PASSES_USER,
        )
        async for chunk in stream:
            ends.extend(choice.finish_reason for choice in chunk.choices if choice.finish_reason)
        times.append(loop.time())

    async with served.client() as client, asyncio.TaskGroup() as tasks:
        for at in range(10):
            tasks.create_task(listen(client, at))
        await until(lambda: all(served.engine.generated[f"s{at}"] > 20 for at in range(10)))
        async with grpc.aio.insecure_channel(served.pair.control.address) as channel:
            stop = lifecycle_service_pb2.DisablePostpaidRequest(name=SERVICE)
            await lifecycle_service_pb2_grpc.LifecycleServiceStub(channel).DisablePostpaid(stop)
        stopped = loop.time()
    assert set(ends) == {"length"}
    assert len(times) == 10
    sys.stdout.write(f"the last stream ended {max(times) - stopped:.3f} s after the stop\n")
    await until(lambda: not served.engine.running)
    assert max(served.engine.generated[f"s{at}"] for at in range(10)) < TOKENS_MAX
