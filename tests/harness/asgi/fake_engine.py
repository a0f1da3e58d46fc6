"""A small server that speaks the OpenAI API and generates tokens that mean nothing, but knows how many there were."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tallygate.integrations.asgi_types import Receive, Scope, Send
from tallygate.integrations.openai.estimate import estimate_input_tokens

TOKEN = "tok "
DEFAULT_TOKENS = 16
STEP_TURNS = 5


def input_tokens(content: Mapping[str, Any]) -> int:
    """How many input tokens this server counts, which is what the middleware is told to expect."""
    return estimate_input_tokens(content)


@dataclass(eq=False)
class FakeEngine:
    """Generates `max_tokens` for each choice. `generated` counts them by the request's `user`, as they are made."""

    generated: Counter[str] = field(default_factory=Counter)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is clear, nobody generates more than `at_least` tokens for a choice."""
    at_least: int = 0
    step_turns: int = STEP_TURNS
    """Turns of the event loop that a step of the model takes."""
    pauses: dict[str, int] = field(default_factory=dict)
    """Number of tokens after which nothing more is generated for a `user` until nobody listens."""
    running: int = 0
    first_tokens: int = 0
    """Requests that have generated something."""
    failures_left: int = 0
    """Requests that are answered with 500 before any is answered otherwise."""
    is_silent: bool = False
    """Nobody is answered at all."""

    def __post_init__(self) -> None:
        self.gate.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        content = json.loads(body) if body else {}
        gone = asyncio.create_task(self._listen(receive))
        self.running += 1
        try:
            if self.is_silent:
                await gone
            elif self.failures_left:
                self.failures_left -= 1
                await _json(send, {"error": {"message": "the engine has failed"}}, status=500)
            elif scope["path"] == "/v1/embeddings":
                await self._embed(content, send)
            elif scope["path"] == "/v1/responses":
                await self._respond(content, send, gone)
            elif scope["path"] in {"/v1/chat/completions", "/v1/completions"}:
                await self._complete(content, send, gone, is_chat="chat" in scope["path"])
            else:
                await _json(send, {"path": scope["path"]})
        finally:
            self.running -= 1
            gone.cancel()

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _tokens(self, content: Mapping[str, Any], gone: asyncio.Task[None]) -> AsyncIterator[int]:
        """The choice that each next token belongs to, until the client is gone."""
        name = str(content.get("user", ""))
        each = content.get("max_tokens") or content.get("max_output_tokens") or DEFAULT_TOKENS
        for at in range(each):
            for choice in range(content.get("n") or 1):
                if at >= self.pauses.get(name, each):
                    await gone
                if at >= self.at_least and not self.gate.is_set():
                    opened = asyncio.create_task(self.gate.wait())
                    await asyncio.wait({opened, gone}, return_when=asyncio.FIRST_COMPLETED)
                    opened.cancel()
                if gone.done():
                    return
                self.first_tokens += at == choice == 0
                self.generated[name] += 1
                yield choice
                # A step of the model takes a moment, in which it hears when nobody listens any more.
                for _ in range(self.step_turns):
                    await asyncio.sleep(0)

    def _usage(self, content: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        went_in = input_tokens(content)
        return {
            "prompt_tokens": went_in,
            "completion_tokens": tokens,
            "total_tokens": went_in + tokens,
            "prompt_tokens_details": {"cached_tokens": went_in // 2},
        }

    async def _embed(self, content: Mapping[str, Any], send: Send) -> None:
        data = [{"object": "embedding", "index": 0, "embedding": [0.5] * 8}]
        usage = {"prompt_tokens": input_tokens(content), "total_tokens": input_tokens(content)}
        await _json(send, {"object": "list", "data": data, "model": content["model"], "usage": usage})

    async def _complete(
        self, content: Mapping[str, Any], send: Send, gone: asyncio.Task[None], *, is_chat: bool
    ) -> None:
        kind = ("chat.completion" if is_chat else "text_completion") + (".chunk" if is_chat else "")
        base = {"id": "c-1", "object": kind, "created": 1, "model": content["model"]}
        choices = range(content.get("n") or 1)
        made = Counter[int]()
        if not content.get("stream"):
            async for choice in self._tokens(content, gone):
                made[choice] += 1
            whole = [_whole(choice, made[choice], is_chat=is_chat) for choice in choices]
            usage = self._usage(content, made.total())
            await _json(send, {**base, "object": kind.removesuffix(".chunk"), "choices": whole, "usage": usage})
            return
        await _start(send, "text/event-stream")
        for choice in choices if is_chat else ():
            await _event(send, {**base, "choices": [_piece(choice, {"role": "assistant", "content": ""})]})
        async for choice in self._tokens(content, gone):
            made[choice] += 1
            await _event(send, {**base, "choices": [_piece(choice, {"content": TOKEN}, is_chat=is_chat)]})
        if gone.done():
            return
        for choice in choices:
            await _event(send, {**base, "choices": [_piece(choice, {}, is_chat=is_chat, finish="length")]})
        if (content.get("stream_options") or {}).get("include_usage"):
            await _event(send, {**base, "choices": [], "usage": self._usage(content, made.total())})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

    async def _respond(self, content: Mapping[str, Any], send: Send, gone: asyncio.Task[None]) -> None:
        response: dict[str, Any] = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "model": content["model"],
            "status": "in_progress",
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        item: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress"}
        streams = bool(content.get("stream"))
        events = _Numbered(send)
        if streams:
            await _start(send, "text/event-stream")
            await events.say("response.created", response=response)
            await events.say("response.output_item.added", output_index=0, item={**item, "content": []})
        tokens = 0
        where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        async for _ in self._tokens(content, gone):
            tokens += 1
            if streams:
                await events.say("response.output_text.delta", **where, delta=TOKEN, logprobs=[])
        if gone.done():
            return
        text = {"type": "output_text", "text": TOKEN * tokens, "annotations": []}
        usage = {
            "input_tokens": input_tokens(content),
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": input_tokens(content) + tokens,
        }
        output = [{**item, "status": "completed", "content": [text]}]
        done = {**response, "status": "completed", "output": output, "usage": usage}
        if streams:
            await events.say("response.completed", response=done)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await _json(send, done)


class _Numbered:
    def __init__(self, send: Send) -> None:
        self._send = send
        self._number = 0

    async def say(self, kind: str, **content: Any) -> None:
        line = json.dumps({"type": kind, "sequence_number": self._number, **content})
        self._number += 1
        body = f"event: {kind}\ndata: {line}\n\n".encode()
        await self._send({"type": "http.response.body", "body": body, "more_body": True})


def _whole(choice: int, tokens: int, *, is_chat: bool) -> dict[str, Any]:
    text = TOKEN * tokens
    said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
    return {"index": choice, **said, "logprobs": None, "finish_reason": "length"}


def _piece(choice: int, delta: Mapping[str, Any], *, is_chat: bool = True, finish: str | None = None) -> dict[str, Any]:
    said: dict[str, Any] = {"delta": delta} if is_chat else {"text": delta.get("content", "")}
    return {"index": choice, **said, "logprobs": None, "finish_reason": finish}


async def _start(send: Send, kind: str, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]})


async def _event(send: Send, content: Mapping[str, Any]) -> None:
    line = json.dumps(content, separators=(",", ":"))
    await send({"type": "http.response.body", "body": f"data: {line}\n\n".encode(), "more_body": True})


async def _json(send: Send, content: Mapping[str, Any], status: int = 200) -> None:
    await _start(send, "application/json", status)
    await send({"type": "http.response.body", "body": json.dumps(content).encode(), "more_body": False})
