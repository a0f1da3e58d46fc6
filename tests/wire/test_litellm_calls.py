"""LiteLLM's calls as requests to the middleware, hook by hook, without LiteLLM: what is recorded, stopped, closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from typing import Any

import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.litellm.call import MeteredCall, RefusedError, bridge, error_in
from tallygate.integrations.litellm.reading import changes_of, logging_object, read_body, read_scope, write_body
from tallygate.integrations.openai.request_json import BadRequestError
from tallygate.metering.v1 import decision_pb2, report_pb2
from tests.harness.asgi.asgi_harness import DONE, SERVICE, counts, delta, usage
from tests.harness.patience import PATIENCE_S, until
from tests.harness.wire.fake_metering import FakeMetering

KEY = "sk-of-a-user"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 500}


class Chunks:
    """A stream of LiteLLM's: pieces, then nothing more until it is closed."""

    def __init__(self, *pieces: bytes, ends: bool = True, error: Exception | None = None) -> None:
        self._pieces = list(pieces)
        self._ends = ends
        self._error = error
        self.is_closed = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if self._error is not None:
            raise self._error
        if not self._ends:
            await self.is_closed.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.is_closed.set()


Start = Callable[..., Any]


@pytest.fixture
def begin(node: FakeMetering, client: MeteringClient) -> Start:
    """Authorises a call with these fields."""
    node.services[sha256(KEY.encode()).digest()] = SERVICE
    metered = MeteringMiddleware(bridge, client=client, stream_usage="final")

    async def begin(**fields: Any) -> tuple[MeteredCall, dict[str, Any]]:
        data = {**CHAT, "litellm_call_id": "a", "metadata": {"requester_ip_address": "192.0.2.7"}, **fields}
        call = MeteredCall(
            read_scope(data, "acompletion", sha256(KEY.encode()).hexdigest()), write_body(read_body(data))
        )
        return call, changes_of(read_body(data), await call.authorize(metered))

    return begin


async def recorded(node: FakeMetering) -> report_pb2.TokenReport:
    await until(lambda: node.committed)
    (report,) = node.committed.values()
    return report


async def test_a_whole_answer_is_recorded_as_its_server_counts(node: FakeMetering, begin: Start) -> None:
    """Under the hash of its key; the answer has the request's id."""
    call, changes = await begin()
    assert changes == {}
    assert "x-tallygate-request-id" in call.headers
    await call.record({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 7}})
    report = await recorded(node)
    assert report.usage == counts(12, 7)
    assert not report.estimated
    first = node.reports[0]
    assert (first.credential_sha256, first.source_address) == (sha256(KEY.encode()).digest(), "192.0.2.7")


async def test_a_whole_answer_is_lowered_to_what_is_left(node: FakeMetering, begin: Start) -> None:
    """LiteLLM sends what the hook changes."""
    node.step = node.limit = 300
    _, changes = await begin()
    assert changes == {"max_tokens": 300}


async def test_a_stream_passes_as_litellm_made_it_without_usage_that_nobody_asked_for(
    node: FakeMetering, begin: Start
) -> None:
    """Chunks are the same objects; the usage that was asked for on the client's behalf is counted and hidden."""
    call, changes = await begin(stream=True, _litellm_strip_stream_usage=True, stream_options={"include_usage": True})
    assert changes == {"stream_options": {"include_usage": True}}
    pieces = [delta("a"), delta("b", finish="stop")]
    shown = [chunk async for chunk in call.pass_on(Chunks(*pieces, usage(12, 2)))]
    assert all(one is other for one, other in zip(shown, pieces, strict=True))
    assert (await recorded(node)).usage == counts(12, 2)


async def test_a_stop_ends_a_stream_whose_server_says_nothing(node: FakeMetering, begin: Start) -> None:
    """With an end that clients understand, without the mark that LiteLLM writes; the server's stream is closed."""
    call, _ = await begin(stream=True)
    chunks = Chunks(delta("a"), ends=False)
    shown: list[Any] = []
    async for chunk in call.pass_on(chunks):
        shown.append(chunk)
        if len(shown) == 1:
            node.streams[-1].stop(node.reports[0].request_id, decision_pb2.DECISION_REASON_SUSPENDED)
    assert b'"length"' in b"".join(shown)
    assert DONE not in b"".join(shown)
    assert chunks.is_closed.is_set()
    report = await recorded(node)
    assert (report.usage.output_tokens, report.estimated) == (1, True)


async def test_a_client_that_leaves_ends_the_stream(node: FakeMetering, begin: Start) -> None:
    """What was read is recorded, and the server's stream is closed."""
    call, _ = await begin(stream=True)
    chunks = Chunks(*[delta("a")] * 3, ends=False)
    shown = call.pass_on(chunks)
    assert await anext(shown)
    await shown.aclose()
    assert chunks.is_closed.is_set()
    report = await recorded(node)
    assert 1 <= report.usage.output_tokens <= 3
    assert report.estimated


async def test_a_stream_that_fails_fails_for_litellm_too(node: FakeMetering, begin: Start) -> None:
    """With its own error, of which LiteLLM makes what it makes; what came before is recorded."""
    call, _ = await begin(stream=True)
    with pytest.raises(ConnectionError, match="gone"):
        async for _chunk in call.pass_on(Chunks(delta("a"), error=ConnectionError("gone"))):
            pass
    assert (await recorded(node)).usage.output_tokens == 1


async def test_a_stream_that_another_hook_breaks_off_is_recorded(node: FakeMetering, begin: Start) -> None:
    """LiteLLM speaks of the failure before it closes the stream, of which nobody reads on."""
    call, _ = await begin(stream=True)
    chunks = Chunks(*[delta("a")] * 50, ends=False)
    shown = call.pass_on(chunks)
    assert await anext(shown)
    async with asyncio.timeout(PATIENCE_S):
        await call.fail()
    assert chunks.is_closed.is_set()
    report = await recorded(node)
    assert report.usage.output_tokens >= 1
    assert report.estimated
    await shown.aclose()


@pytest.mark.parametrize("ends", ["fail", "abandon"])
async def test_what_no_model_answered_costs_nothing(node: FakeMetering, begin: Start, ends: str) -> None:
    """Whether a hook says so, or none comes any more before a model was asked."""
    call, _ = await begin()
    result = getattr(call, ends)()
    if result is not None:
        await result
    report = await recorded(node)
    assert (report.usage, report.estimated) == (counts(0, 0), False)


async def test_a_call_that_is_let_go_after_a_model_was_asked_costs_its_input(node: FakeMetering, begin: Start) -> None:
    """Its client left before the first chunk."""
    call, _ = await begin(stream=True)
    call.has_begun = True
    call.abandon()
    report = await recorded(node)
    assert report.usage.input_tokens > 0
    assert report.estimated


async def test_a_stop_leaves_a_whole_answer_alone(node: FakeMetering, begin: Start) -> None:
    """LiteLLM cannot stop it: all of it was held, and all of it is recorded."""
    call, _ = await begin()
    node.streams[-1].stop(node.reports[0].request_id, decision_pb2.DECISION_REASON_SUSPENDED)
    await until(node.streams[-1].out.empty)
    await call.record({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 7}})
    report = await recorded(node)
    assert (report.usage, report.estimated) == (counts(12, 7), False)


async def test_a_refusal_has_what_clients_read(node: FakeMetering, begin: Start) -> None:
    """Status, headers, and an error with a code."""
    node.denies_all = decision_pb2.DECISION_REASON_TOKEN_RATE
    with pytest.raises(RefusedError) as refused:
        await begin()
    assert refused.value.status == 429
    assert refused.value.headers["retry-after-ms"] == "250"
    assert error_in(refused.value.body)["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    "fields",
    [
        {"extra_body": {"n": 9}},
        {"fallbacks": ["other"]},
        {"content_policy_fallbacks": [{"m": ["other"]}]},
        {"additional_drop_params": ["max_tokens"]},
    ],
)
def test_what_would_undo_metering_is_refused(fields: dict[str, Any]) -> None:
    """By the name of the field."""
    with pytest.raises(BadRequestError, match=f"`{next(iter(fields))}`"):
        read_body({**CHAT, **fields})
    with pytest.raises(BadRequestError, match="several models"):
        read_body({**CHAT, "model": "a,b"})


def test_a_team_may_have_fallbacks_and_a_client_none() -> None:
    """LiteLLM writes what its operator has set for a team where a client could write as well."""
    settings = {"router_settings_override": {"fallbacks": [{"m": ["other"]}]}}
    assert read_body({**CHAT, **settings, "proxy_server_request": {"body": CHAT}})
    with pytest.raises(BadRequestError, match="`router_settings_override`"):
        read_body({**CHAT, **settings, "proxy_server_request": {"body": {**CHAT, **settings}}})


def test_a_call_whose_answer_no_hook_sees_is_refused() -> None:
    """Such as LiteLLM makes on behalf of a server of tools; once authorised, it would stay open."""
    with pytest.raises(BadRequestError, match="shows its answer to no hook"):
        logging_object(CHAT)
    made = object()
    assert logging_object({**CHAT, "litellm_logging_obj": made}) is made


def test_litellms_own_fields_are_not_the_clients() -> None:
    """What LiteLLM adds is neither read nor written."""
    data = {**CHAT, "metadata": {}, "litellm_logging_obj": object(), "proxy_server_request": {}, "user": "u"}
    assert read_body(data) == {**CHAT, "user": "u"}


def test_a_path_that_is_not_metered_is_judged_as_it_is() -> None:
    """Other calls keep method and path, by which routes are judged."""
    sent = {"url": "http://127.0.0.1:4000/v1/rerank?a=b", "method": "POST", "headers": {}}
    scope = read_scope({"proxy_server_request": sent}, "rerank", None)
    assert (scope["type"], scope["method"], scope["path"]) == ("http", "POST", "/v1/rerank")
    assert read_scope({}, "_arealtime", None)["type"] == "websocket"
