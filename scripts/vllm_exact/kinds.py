"""The kinds of requests that are sent, each a path and a body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHAT = "/v1/chat/completions"
COMPLETION = "/v1/completions"
RESPONSE = "/v1/responses"
MESSAGES = "/v1/messages"
PROMPT = "the quick brown fox jumps over the lazy dog"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"]}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request.

    Attributes:
        name: In a few words.
        path: Where it is posted.
        body: What is posted.
        prompts: How many times vLLM's own counters count its input: once for each sequence that it runs.
    """

    name: str
    path: str
    body: Mapping[str, Any]
    prompts: int = 1


def _chat(name: str, *, prompts: int = 1, **more: Any) -> Kind:
    messages = [{"role": "user", "content": f"{PROMPT} {name}"}]
    return Kind(name, CHAT, {"messages": messages, "max_tokens": 12, "ignore_eos": True, **more}, prompts)


def _text(name: str, *, prompts: int = 1, **more: Any) -> Kind:
    prompt = f"{PROMPT} {name}"
    return Kind(name, COMPLETION, {"prompt": prompt, "max_tokens": 12, "ignore_eos": True, **more}, prompts)


STREAM: dict[str, Any] = {"stream": True}
WITH_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
RUNNING: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}

KINDS = (
    _chat("chat, whole"),
    _chat("chat, streamed", **STREAM),
    _chat("chat, streamed with usage", **WITH_USAGE),
    _chat("chat, streamed with running usage", **RUNNING),
    _chat("chat, three choices", prompts=3, n=3),
    _chat("chat, two choices, streamed", prompts=2, n=2, **STREAM),
    _chat("chat, log probabilities", logprobs=True, top_logprobs=3),
    _chat("chat, log probabilities, streamed", logprobs=True, top_logprobs=3, **STREAM),
    _chat("chat, log probabilities of the prompt", prompt_logprobs=1),
    _chat("chat, token ids, streamed", return_token_ids=True, **STREAM),
    _chat("chat, one token, streamed", **{**STREAM, "max_tokens": 1}),
    _chat("chat, no limit but an end", ignore_eos=False, max_tokens=None, max_completion_tokens=40, **STREAM),
    _chat("chat, at least 8", min_tokens=8, ignore_eos=False),
    _chat("chat, a stop word, streamed", stop=["a", "e", "o"], **{**STREAM, "max_tokens": 200}),
    _chat("chat, a stop word", stop=["a", "e", "o"], max_tokens=200),
    _chat("chat, JSON", response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}),
    _text("text, whole"),
    _text("text, streamed", **STREAM),
    _text("text, echoed with log probabilities, streamed", echo=True, logprobs=1, **STREAM),
    _text("text, echoed", echo=True),
    _text("text, two choices", prompts=2, n=2),
    _text("text, two prompts", prompt=[f"{PROMPT} one", f"{PROMPT} two more"]),
    _text("text, two prompts, streamed", prompt=[f"{PROMPT} three", f"{PROMPT} four more"], **STREAM),
    _text("text, ids for a prompt", prompt=[11, 12, 13, 14, 15, 16, 17]),
    _text("text, long", prompt=" ".join([PROMPT] * 40), max_tokens=300, **STREAM),
    _text("text, the same again: from the cache", prompt=" ".join([PROMPT] * 40), max_tokens=300, **STREAM),
    Kind("response, whole", RESPONSE, {"input": f"{PROMPT} r", "max_output_tokens": 12}),
    Kind("response, streamed", RESPONSE, {"input": f"{PROMPT} rs", "max_output_tokens": 12, **STREAM}),
    Kind("messages, whole", MESSAGES, {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 12}),
    Kind(
        "messages, streamed",
        MESSAGES,
        {"messages": [{"role": "user", "content": f"{PROMPT}!"}], "max_tokens": 12, **STREAM},
    ),
    Kind("invocations", "/invocations", {"prompt": f"{PROMPT} i", "max_tokens": 12, "ignore_eos": True}),
    Kind(
        "ids in, ids out",
        "/inference/v1/generate",
        {"token_ids": [11, 12, 13, 14, 15], "sampling_params": {"max_tokens": 12, "ignore_eos": True}},
    ),
    _chat("chat, refused", top_p=7, **STREAM),
)

ABORTED = (
    _chat("chat", max_tokens=2_000, return_token_ids=True, **STREAM),
    _text("text", max_tokens=2_000, return_token_ids=True, **STREAM),
    _chat("chat, two choices", max_tokens=1_500, n=2, return_token_ids=True, **STREAM),
)
"""Streams that the client leaves in the middle. Their token ids say how much was in the chunks that it read."""
