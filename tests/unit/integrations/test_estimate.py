"""What is set aside for a request's input: all of it, whichever field it is in, and never much less than it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.integrations.openai.estimate import (
    TOKENS_PER_ATTACHMENT,
    estimate_input_tokens,
    input_tokens_to_hold,
)

TEXT = "What is it, and whose? " * 200
SCHEMA = {"type": "object", "properties": {f"the_name_of_field_{at}": {"type": "string"} for at in "abcdefgh"}}


def test_an_estimate_counts_texts_and_not_pictures() -> None:
    """A picture as a data URL is long, and takes few tokens."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "x" * 400}, picture]}]
    assert estimate_input_tokens({"messages": messages}) == 100 + TOKENS_PER_ATTACHMENT + 4
    assert estimate_input_tokens({"prompt": [[1, 2, 3], [4]]}) == 4
    ollama: Any = [{"role": "user", "content": "x" * 400, "images": ["A" * 100_000] * 2}]
    assert estimate_input_tokens({"messages": ollama}) == 100 + 2 * TOKENS_PER_ATTACHMENT + 4
    assert estimate_input_tokens({"prompt": "x" * 400, "images": ["A" * 100_000]}) == 100 + TOKENS_PER_ATTACHMENT
    assert estimate_input_tokens({"prompt": "x", "context": [1, 2], "suffix": "y", "options": {"seed": 1}}) == 4
    assert estimate_input_tokens({"input": "x"}) == 1
    assert estimate_input_tokens({"model": "m"}) == 0


@pytest.mark.parametrize(
    "content",
    [
        {"tools": [{"type": "function", "function": {"name": "x", "description": TEXT}}]},
        {"tools": [{"type": "function", "name": "x", "parameters": {"enum": [TEXT]}}]},
        {"functions": [{"name": "x", "description": TEXT}]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"description": TEXT}}}},
        {"text": {"format": {"type": "json_schema", "schema": {"description": TEXT}}}},
        {"documents": [{"title": "a", "text": TEXT}]},
        {"system": TEXT},
        {"text": TEXT},
        {"text": ["", TEXT]},
        {"query": "", "documents": ["", TEXT]},
        {"system": [{"type": "text", "text": TEXT}]},
        {"instructions": TEXT},
        {"prompt": f"data:{TEXT}"},
        {"prompt": ["", TEXT]},
        {"prompt": [1, TEXT]},
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": TEXT}]}]},
        {"input": [{"type": "function_call_output", "call_id": "1", "output": TEXT}]},
        {"input": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": TEXT}]}]},
        {"input": [[TEXT]]},
        {"messages": [{"role": "user", "content": f"data:{TEXT}"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": f"data:{TEXT}"}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "x", "arguments": TEXT}}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": {TEXT: 1}}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"text": TEXT}]}]}]},
        {"messages": [{"role": "assistant", "reasoning_content": TEXT}]},
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": TEXT}}]}]},
        {"a_field_that_nobody_knows": {"in": [TEXT]}},
        {"messages": json.loads('[{"role":"user","content":' + "[" * 90 + json.dumps(TEXT) + "]" * 90 + "}]")},
    ],
)
def test_every_text_is_counted(content: dict[str, Any]) -> None:
    """Wherever it stands, and whatever it begins with."""
    assert len(TEXT) // 4 <= estimate_input_tokens(content) <= len(TEXT) // 4 + 2 * TOKENS_PER_ATTACHMENT


def test_token_ids_are_counted_exactly() -> None:
    """Wherever servers take them."""
    for field in ("prompt", "input", "input_ids", "token_ids"):
        assert estimate_input_tokens({field: [123_456] * 100}) == 100
        assert estimate_input_tokens({field: [[123_456] * 100, [1]]}) == 101


def test_pictures_of_other_apis_are_attachments() -> None:
    """SGLang takes them beside the text."""
    assert estimate_input_tokens({"image_data": "A" * 10_000}) == TOKENS_PER_ATTACHMENT
    assert estimate_input_tokens({"image_data": ["A" * 10_000] * 2}) == 2 * TOKENS_PER_ATTACHMENT


def test_names_in_a_schema_are_text_as_well() -> None:
    """Templates write schemas out whole."""
    assert estimate_input_tokens({"tools": [SCHEMA]}) >= len(json.dumps(SCHEMA)) // 4


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "input_image", "image_url": "https://example.org/a.png"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
    ],
)
def test_an_attachment_is_counted(part: dict[str, Any]) -> None:
    """For at least a small one's tokens, and for more where it is long."""
    for field in ("messages", "input"):
        assert estimate_input_tokens({field: [{"role": "user", "content": [part]}]}) >= TOKENS_PER_ATTACHMENT
    long = {"type": part["type"], "data": "A" * 4_000_000}
    assert estimate_input_tokens({"input": [{"role": "user", "content": [long]}]}) > 20 * TOKENS_PER_ATTACHMENT


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_it_is_it_is_counted(value: Any) -> None:
    """Never below nothing, and what is held is more than what is estimated."""
    for field in ("messages", "input", "prompt", "tools"):
        content = {field: value}
        estimate = estimate_input_tokens(content)
        assert 0 <= estimate <= input_tokens_to_hold(content, estimate)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # As counted by Mistral's tokenizers, of 32,768 and of 131,072 tokens; the greater of both.
        ("0123456789" * 100, 1_000),
        (
            "計測サービスは各リクエストを続けてよいかどうかを決め、帳簿をつけます。トークンごとに料金がかかります。"
            * 20,
            1_101,
        ),
        (
            "Der Messdienst entscheidet, ob jede Anfrage weiterlaufen darf, und führt die Bücher über alle Token." * 20,
            620,
        ),
    ],
)
def test_what_is_held_covers_what_tokenizers_make_of_it(text: str, tokens: int) -> None:
    """In other languages than English, too."""
    content = {"prompt": text}
    assert input_tokens_to_hold(content, estimate_input_tokens(content)) >= tokens
