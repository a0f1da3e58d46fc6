"""Input that the server's own tokenizer counts before the model runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.asgi_types import Receive, Scope, Send
from tests.harness.asgi.asgi_harness import SERVICE, Caller
from tests.harness.client.patient import PATIENT
from tests.harness.wire.fake_metering import FakeMetering

CHAT = {"model": "m", "messages": [{"role": "user", "content": "x" * 400}], "tools": [{"type": "function"}], "seed": 7}
ATTACHED = {"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}


class Tokenizing:
    """Counts 77 tokens for whatever it is asked, or answers as it is told; says no usage."""

    def __init__(self, answer: Any = None, status: int = 200) -> None:
        self.answer = {"count": 77, "tokens": [1] * 77} if answer is None else answer
        self.status = status
        self.questions: list[dict[str, Any]] = []
        self.headers: list[dict[bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = json.loads((await receive())["body"])
        content: Any = {"choices": []}
        status = 200
        if scope["path"] == "/tokenize":
            self.questions.append(body)
            self.headers.append(dict(scope["headers"]))
            if self.answer == "raise":
                raise RuntimeError("no tokenizer")
            content, status = self.answer, self.status
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(content).encode(), "more_body": False})


async def _held(node: FakeMetering, app: Tokenizing, path: str, asked: dict[str, Any]) -> tuple[int, int]:
    """What is held for the input, and what is recorded of it."""
    async with MeteringClient(node.address, settings=PATIENT) as client:
        middleware = MeteringMiddleware(app, client=client, services=SERVICE, asks_server_for_input=True)
        finish = await Caller(middleware, node).post(path, asked, headers=[(b"authorization", b"Bearer sk-1")])
    return node.reports[0].usage.input_tokens, finish.usage.input_tokens


async def test_what_the_server_counts_is_held(node: FakeMetering) -> None:
    """Exactly; it is asked with what makes up the prompt, and nobody's key."""
    app = Tokenizing()
    assert await _held(node, app, "/v1/chat/completions", CHAT) == (77, 77)
    assert app.questions == [{name: CHAT[name] for name in ("model", "messages", "tools")}]
    assert b"authorization" not in app.headers[0]


async def test_each_prompt_is_counted(node: FakeMetering) -> None:
    """Several in one request are several questions."""
    app = Tokenizing()
    assert await _held(node, app, "/v1/completions", {"model": "m", "prompt": ["a", "b", "c"]}) == (231, 231)
    assert [question["prompt"] for question in app.questions] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "app",
    [
        Tokenizing(status=404),
        Tokenizing("raise"),
        Tokenizing({"count": -1}),
        Tokenizing({"count": "77"}),
        Tokenizing([77]),
    ],
)
async def test_what_it_does_not_count_is_estimated(node: FakeMetering, app: Tokenizing) -> None:
    """The request goes on as without the setting."""
    held, recorded = await _held(node, app, "/v1/chat/completions", CHAT)
    assert (held >= recorded >= 100, app.questions != []) == (True, True)


async def test_attachments_are_not_asked_about(node: FakeMetering) -> None:
    """What they take is known once the model has run."""
    app = Tokenizing()
    held, _ = await _held(node, app, "/v1/chat/completions", ATTACHED)
    assert (held > 77, app.questions) == (True, [])


MESSAGES: Any = CHAT["messages"]


@pytest.mark.parametrize(
    ("path", "asked", "question"),
    [
        ("/api/chat", {"messages": MESSAGES, "options": {"seed": 1}}, {"messages": MESSAGES}),
        ("/api/generate", {"prompt": "x" * 400}, {"prompt": "x" * 400}),
        ("/api/generate", {"prompt": "x" * 400, "system": "Be kind."}, {"prompt": "Be kind.\n\n" + "x" * 400}),
    ],
)
async def test_prompts_of_ollamas_api_are_counted_as_sglang_puts_them_together(
    node: FakeMetering, path: str, asked: dict[str, Any], question: dict[str, Any]
) -> None:
    """Its streams of that API say no counts, so this is what is recorded."""
    app = Tokenizing()
    assert await _held(node, app, path, {"model": "m", **asked}) == (77, 77)
    assert app.questions == [{"model": "m", **question}]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/api/chat", {"messages": [{**MESSAGES[0], "images": ["AAAA"]}]}),
        ("/api/chat", {"messages": MESSAGES, "tools": [{"type": "function"}]}),
        ("/api/generate", {"prompt": "x" * 400, "context": [1, 2]}),
        ("/api/generate", {"prompt": "x" * 400, "suffix": "y"}),
        ("/api/generate", {"prompt": 7, "system": "x" * 400, "messages": MESSAGES}),
    ],
)
async def test_what_another_server_would_read_besides_is_estimated(
    node: FakeMetering, path: str, asked: dict[str, Any]
) -> None:
    """Less than what is read would be counted."""
    app = Tokenizing()
    held, _ = await _held(node, app, path, {"model": "m", **asked})
    assert (held > 77, app.questions) == (True, [])
