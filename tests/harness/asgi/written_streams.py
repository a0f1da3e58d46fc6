"""Streams as real servers write them, with and without usage asked for: what a client must see, what was generated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

FINGERPRINT = "vllm-0.32.0-854f1100"


@dataclass(frozen=True, slots=True)
class Step:
    """What one chunk of one choice carries: a text, which may be empty, and how many tokens it stands for."""

    index: int
    text: str
    tokens: int
    is_reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """A stream.

    Attributes:
        server: Who writes it: "vllm" or "sglang".
        is_chat: By the chat API, else by that of completions.
        input_tokens: Of its prompt.
        steps: Its chunks.
        choices: How many answers.
        end: The end of a line.
    """

    server: str
    is_chat: bool
    input_tokens: int
    steps: Sequence[Step]
    choices: int
    end: str

    @property
    def output_tokens(self) -> int:
        """All of the output class."""
        return sum(step.tokens for step in self.steps)

    def events(self, *, usage: bool, running: bool) -> list[bytes]:
        """The stream, with usage at its end and in each chunk, or without."""
        made = dict.fromkeys(range(self.choices), 0)
        first = {"role": "assistant", "content": ""}
        indexes = range(self.choices)
        events = [self._chunk(index, first, None, 0, running=running) for index in indexes if self.is_chat]
        for step in self.steps:
            made[step.index] += step.tokens
            events.append(self._chunk(step.index, self._delta(step), None, made[step.index], running=running))
        events += [self._chunk(at, {}, "length", made[at], running=running, stamped=not usage) for at in indexes]
        if usage:
            events.append(self._event({**self._base(), "choices": [], **self._usage(), **self._stamp()}))
        return [*events, f"data: [DONE]{self.end * 2}".encode()]

    def _delta(self, step: Step) -> dict[str, Any]:
        if self.server == "sglang" and self.is_chat:
            thought, said = (step.text, None) if step.is_reasoning else (None, step.text)
            return {"reasoning_content": thought, **({} if said is None else {"content": said})}
        return {"reasoning" if step.is_reasoning and self.is_chat else "content": step.text}

    def _base(self) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        return {"id": "c-1", "object": kind, "created": 1, "model": "llama"}

    def _chunk(
        self, index: int, delta: dict[str, Any], finish: str | None, made: int, *, running: bool, stamped: bool = False
    ) -> bytes:
        said = {"delta": delta} if self.is_chat else {"text": delta.get("content", "")}
        choice = {"index": index, **said, "logprobs": None, "finish_reason": finish}
        chunk: dict[str, Any] = {**self._base(), "choices": [choice]}
        total = self.input_tokens + made
        block: dict[str, Any] = {"prompt_tokens": self.input_tokens, "total_tokens": total, "completion_tokens": made}
        if self.server == "sglang":
            is_plain = self.is_chat and next(iter(delta), "") == "reasoning_content"
            block |= {"prompt_tokens_details": None, "reasoning_tokens": 0}
            if running or not is_plain:
                chunk["usage"] = block if running else None
        else:
            if running:
                chunk["usage"] = block | ({"completion_tokens_details": None} if self.is_chat else {})
            if stamped:
                chunk |= self._stamp()
            if self.is_chat and "role" in delta:
                chunk |= {"prompt_token_ids": None, "prompt_text": None}
        return self._event(chunk)

    def _usage(self) -> dict[str, Any]:
        total = self.input_tokens + self.output_tokens
        block = {"prompt_tokens": self.input_tokens, "total_tokens": total, "completion_tokens": self.output_tokens}
        return {"usage": block}

    def _stamp(self) -> dict[str, Any]:
        return {"system_fingerprint": FINGERPRINT} if self.server == "vllm" else {}

    def _event(self, content: dict[str, Any]) -> bytes:
        return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}{self.end * 2}".encode()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        '"usage":{',
        ',"usage":{"prompt_tokens":1,"total_tokens":2,"completion_tokens":1}}',
        "data: [DONE]",
        "\\",
        "\r\n\r\n",
    ]
)


@st.composite
def written_streams(draw: st.DrawFn) -> Written:
    """Any stream of one choice or, of vLLM, several."""
    server = draw(st.sampled_from(["vllm", "sglang"]))
    choices = draw(st.integers(1, 3))
    steps = st.builds(Step, st.integers(0, choices - 1), TEXTS, st.integers(1, 5), st.booleans())
    return Written(
        server=server,
        is_chat=draw(st.booleans()),
        input_tokens=draw(st.integers(0, 5_000)),
        steps=draw(st.lists(steps, max_size=30)),
        choices=choices,
        end=draw(st.sampled_from(["\n", "\n", "\r\n"])),
    )


@st.composite
def pieces(draw: st.DrawFn, body: bytes) -> list[bytes]:
    """A body in pieces, cut anywhere."""
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=20)))
    return [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
