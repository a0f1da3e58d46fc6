"""Counting a request's input with the tokenizer of the server behind, before the model runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallygate.integrations.asgi_types import App, Message, Scope
from tallygate.integrations.openai.request_body import ParsedRequest
from tallygate.integrations.shapes import Shape

PATH = "/tokenize"
"""Path by which vLLM (0.32) and SGLang (0.5.23) count a prompt or a chat as they read it, with template and tools."""
PROMPTS_MAX = 16
"""Maximum number of prompts in a request that are counted one by one; more are estimated."""

_CHAT_FIELDS = (
    *("model", "messages", "tools", "tool_choice", "chat_template", "chat_template_kwargs", "reasoning_effort"),
    *("add_generation_prompt", "continue_final_message", "add_special_tokens"),
)
_PROMPT_FIELDS = ("model", "add_special_tokens")
_OLLAMA_UNSENT = ("tools", "images", "template", "context", "suffix")
"""Fields of Ollama's API that SGLang (0.5.23) leaves out of its prompts, and that others do not."""
_PLAIN = {"role", "content"}
_ANSWER_BYTES_MAX = 64 << 20


class ServerTokenizer:
    """Requests counts from the app itself, in its process: no connection, and nobody's key."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def count(self, scope: Scope, parsed: ParsedRequest) -> int | None:
        """Number of input tokens of a request; None where the server does not report it, and it has to be estimated.

        Args:
            scope: Of the request.
            parsed: The request. Texts are counted; of one with attachments only the server knows once it has run.
        """
        questions = _questions(parsed)
        counts = [await self._request_count(scope, question) for question in questions]
        known = [count for count in counts if count is not None]
        return sum(known) if questions and len(known) == len(questions) else None

    async def _request_count(self, scope: Scope, question: Mapping[str, Any]) -> int | None:
        body = json.dumps(question).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        root_path = str(scope.get("root_path", ""))
        path = root_path.rstrip("/") + PATH
        inner = {**scope, "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers}
        request: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        status = 0
        pieces: list[bytes] = []

        async def receive() -> Message:
            return request.pop() if request else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and sum(map(len, pieces)) < _ANSWER_BYTES_MAX:
                pieces.append(message.get("body", b""))

        try:
            await self._app(inner, receive, send)
            answer = json.loads(b"".join(pieces)) if status == 200 else None  # noqa: PLR2004  # HTTP's OK
        except Exception:  # noqa: BLE001  # whatever is wrong with it, the request itself goes on with an estimate
            return None
        count = answer.get("count") if isinstance(answer, Mapping) else None
        return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def _questions(parsed: ParsedRequest) -> list[dict[str, Any]]:
    content = parsed.content
    if parsed.shape in {Shape.OLLAMA_CHAT, Shape.OLLAMA_GENERATE}:
        return _ollama_questions(content, is_chat=parsed.shape is Shape.OLLAMA_CHAT)
    if parsed.shape is Shape.CHAT and not _has_attachments(content.get("messages")):
        return [{name: content[name] for name in _CHAT_FIELDS if content.get(name) is not None}]
    if parsed.shape is not Shape.COMPLETION:
        return []
    prompt = content.get("prompt")
    prompts = prompt if isinstance(prompt, list) else [prompt]
    if not all(isinstance(each, str) for each in prompts) or len(prompts) > PROMPTS_MAX:
        return []
    fields = {name: content[name] for name in _PROMPT_FIELDS if content.get(name) is not None}
    return [{**fields, "prompt": each} for each in prompts]


def _ollama_questions(content: Mapping[str, Any], *, is_chat: bool) -> list[dict[str, Any]]:
    """As SGLang (0.5.23) puts a prompt together: no template for a prompt alone, of messages roles and texts."""
    messages, prompt, system = content.get("messages"), content.get("prompt"), content.get("system")
    if any(content.get(name) for name in _OLLAMA_UNSENT):
        return []
    if is_chat:
        if not isinstance(messages, list) or not messages:
            return []
        plain = [message for message in messages if isinstance(message, Mapping) and message.keys() <= _PLAIN]
        return [{"model": content.get("model"), "messages": messages}] if len(plain) == len(messages) else []
    if not isinstance(prompt, str) or not prompt or not isinstance(system, str | None):
        return []
    return [{"model": content.get("model"), "prompt": f"{system}\n\n{prompt}" if system else prompt}]


def _has_attachments(messages: object) -> bool:
    """Whether a message has a part that is no text."""
    if not isinstance(messages, list):
        return True
    contents = [message.get("content") for message in messages if isinstance(message, Mapping)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(not isinstance(part, Mapping) or part.get("type") not in {"text", "refusal"} for part in parts)
