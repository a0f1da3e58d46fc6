"""Speech to text: what an app reads of the form that it gets, what its client sees, and what is recorded of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Form, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.metering.v1 import decision_pb2, report_pb2, token_usage_pb2
from tests.harness.asgi.asgi_harness import SERVICE, Caller, event
from tests.harness.asgi.forms import BOUNDARY, Field, form
from tests.harness.wire.fake_metering import FakeMetering

PATH = "/v1/audio/transcriptions"
TRANSLATIONS = "/v1/audio/translations"
SOUND = b"OggS\r\n--\r\n\0\xff" * 1_000
"""12,000 bytes: 94 tokens by the estimate, of which half as much again is held."""
KIND = f"multipart/form-data; boundary={BOUNDARY}"
DONE = b"data: [DONE]\n\n"


class Said(BaseModel):
    """What vLLM 0.32 reads of a form, as far as it matters here."""

    model_config = ConfigDict(extra="allow")
    file: UploadFile
    model: str | None = None
    response_format: str = "json"
    stream: bool | None = False
    stream_include_usage: bool | None = False
    stream_continuous_usage_stats: bool | None = False
    max_completion_tokens: int | None = None
    use_beam_search: bool = False
    n: int = 1


Answer = Callable[[Said], Response]


@dataclass(eq=False)
class Server:
    """Reads forms as vLLM does, then answers as it is told."""

    answer: Answer
    heard: list[Said] = field(default_factory=list)
    sounds: list[bytes] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI()

        async def run(said: Annotated[Said, Form()]) -> Response:
            self.heard.append(said)
            self.sounds.append(await said.file.read())
            return self.answer(said)

        app.post(PATH, response_model=None)(run)
        app.post(TRANSLATIONS, response_model=None)(run)
        return app


def calling(node: FakeMetering, client: MeteringClient, answer: Answer) -> tuple[Caller, Server]:
    server = Server(answer)
    return Caller(MeteringMiddleware(server.app(), client=client, services=SERVICE), node), server


async def post(rig: Caller, *fields: Field, path: str = PATH, sound: bytes = SOUND) -> report_pb2.TokenReport:
    return await rig.post(path, form(*fields, ("file", sound)), headers=[(b"content-type", KIND.encode())])


def chunk(text: str | None, said: tuple[int, int] | None = None, *, ends: bool = False) -> bytes:
    last = {"finish_reason": "stop", "stop_reason": None} if ends else {}
    choices = [] if text is None else [{"delta": {"content": text}, **last}]
    content = {"id": "t", "object": "transcription.chunk", "created": 1, "model": "m", "choices": choices}
    usage = said and {"prompt_tokens": said[0], "total_tokens": sum(said), "completion_tokens": said[1]}
    return f"data: {json.dumps({**content, **({'usage': usage} if usage else {})}, separators=(',', ':'))}\n\n".encode()


def vllm(said: Said, *, parts: int = 2, tokens: int = 3, is_over: Callable[[], bool] = lambda: False) -> Response:
    """A stream as vLLM writes it: so many tokens for each part of a recording, or as many as may be."""
    each = min(tokens, said.max_completion_tokens or tokens)

    async def events() -> AsyncIterator[bytes]:
        for at in range(parts * each):
            counts = (104, at + 1) if said.stream_include_usage and said.stream_continuous_usage_stats else None
            yield chunk("a", counts, ends=(at + 1) % each == 0)
            if is_over():
                await asyncio.Event().wait()
        if said.stream_include_usage:
            yield chunk(None, (104, parts * each))
        yield DONE

    return StreamingResponse(events(), media_type="text/event-stream")


def streams(*events: bytes) -> Answer:
    return lambda _said: StreamingResponse(iter(events), media_type="text/event-stream")


def counts(went_in: int, came_out: int) -> token_usage_pb2.TokenUsage:
    return token_usage_pb2.TokenUsage(input_tokens=went_in, output_tokens=came_out)


MODEL = ("model", "m")
STREAM = ("stream", "true")
FILE = ("file", SOUND)
USAGE = ("stream_include_usage", "true")
PLAIN = [chunk("a"), chunk("a"), chunk("a", ends=True)]


@pytest.mark.parametrize("path", [PATH, TRANSLATIONS])
@pytest.mark.parametrize(("asks", "end"), [([], b""), ([USAGE], chunk(None, (104, 6)))])
async def test_a_stream_is_metered_by_what_the_server_counted(
    node: FakeMetering, client: MeteringClient, path: str, asks: Iterable[Field], end: bytes
) -> None:
    """It is asked for that on its client's behalf, and the client sees what it would have seen without."""
    rig, server = calling(node, client, vllm)
    finish = await post(rig, MODEL, STREAM, *asks, path=path)
    assert (finish.usage, finish.estimated) == (counts(104, 6), False)
    assert rig.body == b"".join([*PLAIN, *PLAIN, end, DONE])
    assert (server.sounds, server.heard[0].model) == ([SOUND], "m")
    assert (node.reports[0].whole, node.reports[0].usage.input_tokens) == (False, 141)


@pytest.mark.parametrize(
    ("answer", "recorded"),
    [
        pytest.param({"text": "twelve bytes", "usage": {"type": "duration", "seconds": 7}}, counts(700, 3), id="json"),
        pytest.param({"text": "ab", "duration": 6.5, "segments": [{"tokens": [1, 2]}]}, counts(650, 2), id="verbose"),
        pytest.param({"text": "twelve bytes"}, counts(94, 3), id="translation"),
        pytest.param("data: twelve", counts(94, 3), id="text"),
    ],
)
async def test_a_whole_answer_that_says_no_tokens_is_estimated(
    node: FakeMetering,
    client: MeteringClient,
    caplog: pytest.LogCaptureFixture,
    answer: str | dict[str, Any],
    recorded: token_usage_pb2.TokenUsage,
) -> None:
    """By its text, and by how long the recording was. That is as ever, and no line in the log."""
    caplog.set_level(logging.INFO, "tallygate.integrations.asgi")
    reply = PlainTextResponse(answer) if isinstance(answer, str) else JSONResponse(answer)
    rig, _ = calling(node, client, lambda _said: reply)
    finish = await post(rig, MODEL)
    assert (finish.usage, finish.estimated) == (recorded, True)
    assert rig.body == reply.body
    assert node.reports[0].whole
    assert not [record for record in caplog.records if "is recorded" in record.message]


OPENAI_USAGE = {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}
OPENAI_EVENTS = [
    event({"type": "transcript.text.delta", "delta": "a"}),
    event({"type": "transcript.text.done", "text": "a", "usage": OPENAI_USAGE}),
]


@pytest.mark.parametrize(
    ("fields", "answer", "body"),
    [
        ([MODEL, STREAM], streams(*OPENAI_EVENTS), b"".join(OPENAI_EVENTS)),
        ([MODEL], lambda _said: JSONResponse({"usage": OPENAI_USAGE}), JSONResponse({"usage": OPENAI_USAGE}).body),
    ],
)
async def test_tokens_that_openai_says_are_exact(
    node: FakeMetering, client: MeteringClient, fields: list[Field], answer: Answer, body: bytes
) -> None:
    """Streamed or not."""
    rig, _ = calling(node, client, answer)
    finish = await post(rig, *fields)
    assert (finish.usage, finish.estimated) == (counts(14, 45), False)
    assert rig.body == body


async def test_what_may_be_generated_is_held_for_each_part(node: FakeMetering, client: MeteringClient) -> None:
    """A limit holds for each of the parts into which a whole recording may be cut."""
    rig, server = calling(node, client, lambda _said: JSONResponse({"text": "a"}))
    await post(rig, MODEL, ("max_completion_tokens", "50"), sound=SOUND * 4)
    assert node.reports[0].max_output_tokens == 150
    assert (server.heard[0].max_completion_tokens, server.sounds) == (50, [SOUND * 4])
    await post(rig, MODEL, STREAM, ("max_completion_tokens", "50"))
    assert not node.reports[-2].HasField("max_output_tokens")


async def test_a_small_rest_is_told_to_the_server(node: FakeMetering, client: MeteringClient) -> None:
    """In the form, whose other parts stay as they are."""
    node.step = node.limit = 90
    rig, server = calling(node, client, lambda _said: JSONResponse({"text": "a"}))
    await post(rig, MODEL, ("language", "gr\xfcn"), sound=SOUND * 4)
    heard = server.heard[0]
    assert (heard.max_completion_tokens, server.sounds) == (30, [SOUND * 4])
    assert (heard.model_extra, heard.model) == ({"language": "gr\xfcn"}, "m")


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ({"text": "a" * 121}, 30),
        ({"text": "a" * 240}, 30),
        ({"text": "a" * 241}, 61),
        ({"text": "a" * 80}, 20),
        ({"text": "a", "segments": [{"tokens": [1] * 31}]}, 31),
    ],
)
async def test_an_estimate_of_a_text_stays_within_its_limit(
    node: FakeMetering, client: MeteringClient, answer: dict[str, Any], output: int
) -> None:
    """Else many answers at once would spend more than was held; but for a server that disregards its limit."""
    node.step = node.limit = 30
    rig, server = calling(node, client, lambda _said: JSONResponse(answer))
    finish = await post(rig, MODEL)
    assert server.heard[0].max_completion_tokens == 30
    assert (finish.usage.output_tokens, finish.estimated) == (output, True)


async def test_a_stream_ends_with_its_grant(node: FakeMetering, client: MeteringClient) -> None:
    """However many parts the recording has: a limit for each of them does not end it."""
    node.limit = 250
    rig, server = calling(node, client, lambda said: vllm(said, parts=100, tokens=100, is_over=lambda: rig.is_complete))
    finish = await post(rig, MODEL, STREAM, USAGE)
    assert (finish.usage, finish.estimated) == (counts(104, 250), False)
    events = rig.body.split(b"\n\n")
    last: dict[str, Any] = {"delta": {}, "finish_reason": "length", "stop_reason": None}
    assert json.loads(events[-4][6:])["choices"] == [last]
    assert json.loads(events[-3][6:])["usage"]["completion_tokens"] == 250
    assert rig.body.count(b'"content":"a"') == 250
    assert server.heard[0].max_completion_tokens is None


async def test_a_last_grant_is_told_and_holds_all_the_same(node: FakeMetering, client: MeteringClient) -> None:
    """The server ends each part at it, and the stream ends with the first that reaches it."""
    node.step = node.limit = 30
    rig, server = calling(node, client, lambda said: vllm(said, parts=100, tokens=20, is_over=lambda: rig.is_complete))
    finish = await post(rig, MODEL, STREAM)
    assert server.heard[0].max_completion_tokens == 30
    assert (finish.usage, finish.estimated) == (counts(104, 30), False)
    assert rig.body.count(b'"content":"a"') == 30
    assert rig.body.endswith(DONE)


async def test_events_of_openai_that_must_stop_end_with_their_text(node: FakeMetering, client: MeteringClient) -> None:
    """As the last event has it all."""

    async def events() -> AsyncIterator[bytes]:
        yield OPENAI_EVENTS[0]
        node.streams[0].stop(node.reports[0].request_id, decision_pb2.DECISION_REASON_SUSPENDED)
        await asyncio.Event().wait()

    rig, _ = calling(node, client, lambda _said: StreamingResponse(events(), media_type="text/event-stream"))
    finish = await post(rig, MODEL, STREAM)
    done = json.loads(rig.body.split(b"data: ")[-1])
    assert (done["type"], done["text"], done["usage"]["output_tokens"]) == ("transcript.text.done", "a", 1)
    assert (finish.usage, finish.estimated) == (counts(94, 1), True)


def refuses(field: str) -> Answer:
    def answer(said: Said) -> Response:
        if getattr(said, field):
            return JSONResponse({"error": {"message": "unknown field"}}, 422)
        return vllm(said)

    return answer


@pytest.mark.parametrize(
    ("field", "tries", "recorded"),
    [("stream_continuous_usage_stats", 2, counts(104, 6)), ("stream_include_usage", 3, counts(94, 6))],
)
async def test_a_server_that_refuses_to_say_usage_is_asked_for_less(
    node: FakeMetering, client: MeteringClient, field: str, tries: int, recorded: token_usage_pb2.TokenUsage
) -> None:
    """With the same file, and from then on at once."""
    rig, server = calling(node, client, refuses(field))
    for expected in (tries, tries + 1):
        rig.pieces, rig.is_complete, rig.status = [], False, 0
        finish = await post(rig, MODEL, STREAM)
        assert (rig.status, rig.body) == (200, b"".join([*PLAIN, *PLAIN, DONE]))
        assert finish.usage == recorded
        assert server.sounds == [SOUND] * expected


async def test_what_forms_may_ask_for_is_not_what_others_may(node: FakeMetering, client: MeteringClient) -> None:
    """A server that takes the fields of a form may still refuse those of a chat, and is asked for less."""
    tried: list[Any] = []
    server = Server(vllm)
    app = server.app()

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(said: dict[str, Any]) -> Response:
        tried.append(said.get("stream_options"))
        return JSONResponse({}, 422) if "stream_options" in said else streams(DONE)(Said.model_construct())

    rig = Caller(MeteringMiddleware(app, client=client, services=SERVICE), node)
    await post(rig, MODEL, STREAM)
    rig.pieces, rig.is_complete = [], False
    kind = (b"content-type", b"application/json")
    await rig.post("/v1/chat/completions", {"model": "m", "messages": [], "stream": True}, headers=[kind])
    assert (len(tried), tried[-1], rig.status) == (3, None, 200)


async def test_usage_that_a_server_says_to_all_is_shown_to_all(node: FakeMetering, client: MeteringClient) -> None:
    """As vLLM's own setting has it, for forms as for chats: nothing is added, and nothing hidden."""
    server = Server(lambda said: vllm(said.model_copy(update={"stream_include_usage": True})))
    app = server.app()
    app.state.args = SimpleNamespace(enable_force_include_usage=True)
    rig = Caller(MeteringMiddleware(app, client=client, services=SERVICE), node)
    finish = await post(rig, MODEL, STREAM)
    assert rig.body == b"".join([*PLAIN, *PLAIN, chunk(None, (104, 6)), DONE])
    assert (finish.usage, finish.estimated) == (counts(104, 6), False)
    assert not server.heard[0].stream_include_usage


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (form(MODEL, MODEL, FILE), KIND, 400),
        (form(("Stream", "true"), FILE), KIND, 400),
        (form(MODEL, FILE)[:-9], KIND, 400),
        (form(MODEL, FILE), "multipart/form-data", 415),
        (b'{"model": "m"}', "application/json", 415),
    ],
)
async def test_what_cannot_be_read_plainly_does_not_run(
    node: FakeMetering, client: MeteringClient, content: bytes, kind: str, status: int
) -> None:
    """A form that is not understood here might be understood by the server, and would run unmetered."""
    rig, server = calling(node, client, vllm)
    with pytest.raises(IndexError):
        await rig.post(PATH, content, headers=[(b"content-type", kind.encode())])
    assert (rig.status, server.heard, node.reports) == (status, [], [])
    assert json.loads(rig.body)["error"]["type"] == "invalid_request_error"


async def test_an_error_costs_nothing(node: FakeMetering, client: MeteringClient) -> None:
    """As of vLLM, for a format that it does not have."""
    rig, _ = calling(node, client, lambda _said: JSONResponse({"error": {"message": "no", "code": 400}}, 400))
    finish = await post(rig, MODEL, ("response_format", "srt"))
    assert (finish.usage, finish.estimated, rig.status) == (counts(0, 0), False, 400)
