"""What the middleware makes of answers: read as what they are, billed by what the server says, passed on at once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi_types import Receive, Send
from tallygate.metering.v1 import token_usage_pb2
from tests.harness.asgi.asgi_harness import Behaviour, Caller, Upstream, caller, delta, event, say, start, usage
from tests.harness.wire.fake_metering import FakeMetering

CHAT = "/v1/chat/completions"
COMPLETION = "/v1/completions"
ASKED = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x" * 40}]}
WHOLE = {**ASKED, "stream": False}
DONE = b"data: [DONE]\n\n"
NDJSON = "application/x-ndjson"


def counts(went_in: int, came_out: int) -> token_usage_pb2.TokenUsage:
    return token_usage_pb2.TokenUsage(input_tokens=went_in, output_tokens=came_out)


def lines(count: int) -> bytes:
    """A stream of lines of JSON, each a chunk."""
    chunks = [delta("tok ")] * count + [usage(12, count)]
    return b"".join(chunk.removeprefix(b"data: ").replace(b"\n\n", b"\n") for chunk in chunks)


def answers(body: bytes, kind: str = "application/json", status: int = 200, piece: int = 10_000) -> Behaviour:
    async def behave(_upstream: Upstream, _receive: Receive, send: Send) -> None:
        await start(send, kind, status)
        for at in range(0, len(body), piece):
            await say(send, body[at : at + piece])
        await say(send, b"", more=False)

    return behave


def text(content: str, **more: Any) -> bytes:
    choice = {"index": 0, "text": content, "finish_reason": None, **more}
    return event({"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]})


def echoed() -> bytes:
    """A completion that begins with its prompt of 1,000 tokens, each with its log probability."""
    prompt = text("word " * 1_000, logprobs={"tokens": ["word "] * 1_000, "token_logprobs": [-1.0] * 1_000})
    rest = [text("tok", logprobs={"tokens": ["tok"], "token_logprobs": [-1.0]})] * 15
    return b"".join([prompt, *rest, usage(1_000, 16), DONE])


def with_logprobs(token: str) -> bytes:
    entry = {"token": token, "logprob": -1.0}
    choice = {"index": 0, "delta": {"content": token}, "logprobs": {"content": [entry]}, "finish_reason": None}
    return event({"id": "c", "choices": [choice]})


FAR = json.dumps(
    {"usage": {"prompt_tokens": 4_000, "completion_tokens": 1}, "choices": [], "prompt_logprobs": ["x" * 30] * 40_000}
).encode()
ERROR = event({"error": {"message": "too long", "code": 400}})
EMPTY_REASONS = b"".join([delta("tok", finish="")] * 30)
ZERO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
FILTERED = event({"id": "", "choices": [], "usage": ZERO_USAGE, "prompt_filter_results": [{"prompt_index": 0}]})


@pytest.mark.parametrize(
    ("path", "asked", "behave", "recorded", "estimated"),
    [
        pytest.param(CHAT, WHOLE, answers(FAR), counts(4_000, 1), False, id="usage far from the end"),
        pytest.param(
            COMPLETION,
            {"model": "m", "prompt": "p", "stream": True, "echo": True, "logprobs": 1, "max_tokens": 16},
            answers(echoed(), "text/event-stream"),
            counts(1_000, 16),
            False,
            id="an echoed prompt is no output",
        ),
        pytest.param(
            CHAT,
            {**ASKED, "max_tokens": 100},
            answers(delta("x") * 400 + usage(12, 100) + DONE, "text/event-stream"),
            counts(12, 100),
            False,
            id="pieces smaller than tokens, told a limit",
        ),
        pytest.param(
            CHAT,
            ASKED,
            answers(delta("x") * 6_000 + usage(12, 1_500) + DONE, "text/event-stream"),
            counts(12, 1_500),
            False,
            id="pieces smaller than tokens",
        ),
        pytest.param(
            CHAT,
            {**ASKED, "messages": [{"role": "user", "content": "x" * 490_000}]},
            answers(ERROR + DONE, "text/event-stream"),
            counts(0, 0),
            False,
            id="a refusal with status 200, streamed",
        ),
        pytest.param(
            CHAT,
            WHOLE,
            answers(b'{"object": "error", "error": {"message": "no"}}'),
            counts(0, 0),
            False,
            id="a refusal with status 200",
        ),
        pytest.param(CHAT, ASKED, answers(lines(200), NDJSON), counts(12, 200), False, id="lines of JSON"),
        pytest.param(CHAT, ASKED, answers(lines(20), "text/plain", piece=7), counts(12, 20), False, id="any header"),
        pytest.param(
            CHAT,
            ASKED,
            answers(b"\n" + delta("a") + usage(12, 3) + DONE, "application/json", piece=3),
            counts(12, 3),
            False,
            id="events called JSON",
        ),
        pytest.param(
            CHAT,
            ASKED,
            answers(json.dumps({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3}}).encode()),
            counts(12, 3),
            False,
            id="a whole answer to who asked for a stream",
        ),
        pytest.param(
            CHAT,
            ASKED,
            answers(
                event({"choices": [{"index": 0, "delta": {"content": "x"}, "usage": {"prompt_tokens": 10}}]})
                + event(
                    {
                        "choices": [
                            {
                                "index": 0,
                                "delta": {},
                                "finish_reason": "stop",
                                "usage": {"prompt_tokens": 10, "completion_tokens": 5},
                            }
                        ]
                    }
                )
                + DONE,
                "text/event-stream",
            ),
            counts(10, 5),
            False,
            id="usage in a choice",
        ),
        pytest.param(
            CHAT,
            ASKED,
            answers(with_logprobs("x") * 14 + with_logprobs("") * 36 + DONE, "text/event-stream"),
            counts(14, 50),
            True,
            id="tokens without text",
        ),
    ],
)
async def test_what_is_recorded_is_what_was_generated(  # noqa: PLR0917  # fixtures and parameters
    node: FakeMetering,
    client: MeteringClient,
    path: str,
    asked: dict[str, Any],
    behave: Behaviour,
    recorded: token_usage_pb2.TokenUsage,
    estimated: bool,
) -> None:
    """Whatever form it comes in, to the token."""
    rig, _ = caller(node, client, behave)
    finish = await rig.post(path, asked)
    assert (finish.usage, finish.estimated) == (recorded, estimated)
    assert rig.is_complete


async def test_an_echoed_answer_is_not_cut(node: FakeMetering, client: MeteringClient) -> None:
    """All of its text is delivered."""
    rig, _ = caller(node, client, answers(echoed(), "text/event-stream"))
    await rig.post(COMPLETION, {"model": "m", "prompt": "p", "stream": True, "echo": True, "max_tokens": 16})
    assert rig.body == echoed().replace(usage(1_000, 16), b"")


async def test_an_empty_reason_is_none(node: FakeMetering, client: MeteringClient) -> None:
    """A choice with `finish_reason` "" goes on: where it has to stop, it is told so with a proper end."""
    node.step = node.limit = 20
    rig, _ = caller(node, client, answers(EMPTY_REASONS + usage(12, 30) + DONE, "text/event-stream", piece=200))
    await rig.post(CHAT, ASKED)
    last = json.loads(rig.body.split(b"\n\n")[-3].removeprefix(b"data: "))
    assert last["choices"][0]["finish_reason"] == "length"


async def test_only_what_was_asked_for_is_hidden(node: FakeMetering, client: MeteringClient) -> None:
    """A chunk that says something else beside its usage passes."""
    rig, _ = caller(node, client, answers(FILTERED + delta("a") + usage(12, 1) + DONE, "text/event-stream"))
    finish = await rig.post(CHAT, ASKED)
    assert rig.body == FILTERED + delta("a") + DONE
    assert finish.usage == counts(12, 1)


async def test_bytes_pass_before_their_event_ends(node: FakeMetering, client: MeteringClient) -> None:
    """A comment that keeps the connection alive is there while the model still reads its prompt."""
    go_on = asyncio.Event()

    async def behave(_upstream: Upstream, _receive: Receive, send: Send) -> None:
        await start(send)
        await say(send, b": keep-alive\n")
        await go_on.wait()
        await say(send, b"\n" + delta("a"), usage(12, 1), DONE, more=False)

    rig, _ = caller(node, client, behave)
    rig.on_piece = lambda rig: go_on.set() if rig.body == b": keep-alive\n" else None
    finish = await rig.post(CHAT, ASKED)
    assert rig.body == b": keep-alive\n\n" + delta("a") + DONE
    assert finish.usage == counts(12, 1)


def running(text: str, made: int) -> bytes:
    block = {"prompt_tokens": 95, "total_tokens": 95 + made, "completion_tokens": made}
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    content = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps({**content, 'usage': block}, separators=(',', ':'))}\n\n".encode()


async def test_a_stream_that_is_left_is_counted_by_running_usage(node: FakeMetering, client: MeteringClient) -> None:
    """To the last chunk, input too, and it is no estimate; the client sees none of that usage."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send)
        for at in range(1, 41):
            await say(send, running("tok" if at % 3 else "", at * 3))
        await upstream.wait_gone(receive)

    rig, _ = caller(node, client, behave)
    rig.on_piece = lambda rig: rig.hung_up.set() if len(rig.pieces) == 40 else None
    finish = await rig.post(CHAT, ASKED)
    assert (finish.usage, finish.estimated) == (counts(95, 120), False)
    assert b"usage" not in rig.body
    assert len(rig.pieces) == 40


async def _finishes_late(upstream: Upstream, receive: Receive, send: Send) -> None:
    await upstream.wait_gone(receive)
    await start(send, "application/json")
    await say(send, b'{"choices": [], "usage": {"prompt_tokens": 95, "completion_tokens": 40}}', more=False)


async def _says_nothing_then(upstream: Upstream, receive: Receive, send: Send) -> None:
    await upstream.wait_gone(receive)


@pytest.mark.parametrize(
    ("behave", "recorded", "estimated"),
    [(_finishes_late, counts(95, 40), False), (_says_nothing_then, counts(14, 1), True)],
)
async def test_a_whole_answer_that_nobody_waits_for_is_recorded_as_far_as_it_is_known(  # noqa: PLR0917  # parameters
    node: FakeMetering,
    client: MeteringClient,
    caplog: pytest.LogCaptureFixture,
    behave: Behaviour,
    recorded: token_usage_pb2.TokenUsage,
    estimated: bool,
) -> None:
    """Never as nothing, and the log says whose doing it was."""
    caplog.set_level(logging.INFO, "tallygate.integrations.asgi")
    rig, _ = caller(node, client, behave)
    rig.hung_up.set()
    finish = await rig.post(CHAT, WHOLE)
    assert (finish.usage, finish.estimated) == (recorded, estimated)
    assert any("hung up" in line.getMessage() for line in caplog.records) is estimated


@pytest.mark.parametrize("server", ["vllm", "sglang"])
async def test_usage_that_a_server_says_to_everybody_is_not_hidden(
    node: FakeMetering, client: MeteringClient, server: str
) -> None:
    """Its own settings tell that its clients get it without asking; nothing is added to their requests."""
    rig, upstream = caller(node, client, answers(delta("a") + usage(12, 1) + DONE, "text/event-stream"))
    if server == "vllm":
        upstream.state = SimpleNamespace(args=SimpleNamespace(enable_force_include_usage=True))  # type: ignore[attr-defined]
    else:
        upstream.server_args = SimpleNamespace(stream_response_default_include_usage=True)  # type: ignore[attr-defined]
    finish = await rig.post(CHAT, ASKED)
    assert rig.body == delta("a") + usage(12, 1) + DONE
    assert finish.usage == counts(12, 1)
    assert b"stream_options" not in upstream.bodies[0]


def refuses(field: str) -> Callable[[Upstream, Receive, Send], Any]:
    async def behave(upstream: Upstream, _receive: Receive, send: Send) -> None:
        if field in json.dumps(json.loads(upstream.bodies[-1])):
            await start(send, "application/json", 422)
            await say(send, b'{"detail": "extra fields are not permitted"}', more=False)
            return
        await start(send)
        chunks = [delta("a"), *([usage(12, 1)] if "include_usage" in str(upstream.bodies[-1]) else []), DONE]
        await say(send, *chunks, more=False)

    return behave


@pytest.mark.parametrize(
    ("field", "tries", "recorded"),
    [("continuous_usage_stats", 2, counts(12, 1)), ("stream_options", 3, counts(14, 1))],
)
async def test_a_server_that_refuses_to_say_usage_is_asked_for_less(
    node: FakeMetering, client: MeteringClient, field: str, tries: int, recorded: token_usage_pb2.TokenUsage
) -> None:
    """The client gets its answer, also the first time; after that the server is asked only for what it takes."""
    rig, upstream = caller(node, client, refuses(field))
    for expected in (tries, tries + 1):
        rig.pieces, rig.is_complete, rig.status = [], False, 0
        finish = await rig.post(CHAT, ASKED)
        assert (rig.status, rig.body) == (200, delta("a") + DONE)
        assert finish.usage == recorded
        assert len(upstream.bodies) == expected


async def test_usage_in_a_header_counts(node: FakeMetering, client: MeteringClient) -> None:
    """Embeddings in binary have no other place for it."""

    async def behave(_upstream: Upstream, _receive: Receive, send: Send) -> None:
        said = json.dumps({"usage": {"prompt_tokens": 321, "total_tokens": 321}}).encode()
        headers = [(b"content-type", b"application/octet-stream"), (b"metadata", said)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await say(send, b"\x00\x01" * 500, more=False)

    rig, _ = caller(node, client, behave)
    finish = await rig.post("/v1/embeddings", {"model": "m", "input": "x", "encoding_format": "bytes"})
    assert (finish.usage, finish.estimated) == (counts(321, 0), False)


async def test_a_client_that_leaves_in_the_middle_of_a_run(node: FakeMetering, client: MeteringClient) -> None:
    """What a server without running usage had said in pieces since its last word is an estimate, and says so."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send)
        await say(send, running("a", 5), *[delta("b")] * 7)
        await upstream.wait_gone(receive)

    rig: Caller
    rig, _ = caller(node, client, behave)
    rig.on_piece = lambda rig: rig.hung_up.set() if len(rig.pieces) == 8 else None
    finish = await rig.post(CHAT, ASKED)
    assert (finish.usage, finish.estimated) == (counts(95, 12), True)
