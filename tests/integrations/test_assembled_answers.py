"""The real client asks for whole answers, which are fetched as streams."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.asgi.engine_harness import Serving, records, serving
from tests.harness.asgi.fake_engine import TOKEN
from tests.harness.programs.programs import Pair

ASK: dict[str, Any] = {"model": "llama", "messages": [{"role": "user", "content": "Hi"}]}


async def test_the_client_gets_its_answer(pair: Pair, served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both APIs, with several choices; what is recorded is what the server says."""
    monkeypatch.setenv("TALLYGATE_WHOLE_ANSWERS", "stream")
    async with serving([pair.metering.address]) as fetching, fetching.client() as client:
        chat = await client.chat.completions.create(**ASK, max_tokens=7, n=2)
        completion = await client.completions.create(model="llama", prompt="Hi", max_tokens=9)
        found = await records(fetching, pair.metering.address)
    assert (chat.object, completion.object) == ("chat.completion", "text_completion")
    said = [(choice.index, choice.message.role, choice.message.content) for choice in chat.choices]
    assert said == [(at, "assistant", TOKEN * 7) for at in range(2)]
    assert (completion.choices[0].text, completion.choices[0].finish_reason) == (TOKEN * 9, "length")
    assert chat.usage is not None
    assert completion.usage is not None
    assert (chat.usage.completion_tokens, completion.usage.completion_tokens) == (14, 9)
    outputs = {record.usage.output_tokens for record in found if not record.estimated}
    assert {14, 9} <= outputs


async def test_what_is_left_of_a_trial_is_used(pair: Pair, served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that may be longer than what is left begins, and ends where it is spent."""
    monkeypatch.setenv("TALLYGATE_WHOLE_ANSWERS", "stream")
    async with serving([pair.metering.address]) as fetching, fetching.client("sk-trial") as client:
        answer = await client.chat.completions.create(**ASK, max_tokens=5_000)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert 100 < answer.usage.completion_tokens < 200
