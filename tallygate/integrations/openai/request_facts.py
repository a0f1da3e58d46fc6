"""Facts of each kind of request: the fields that limit it, where they stand, and how its stream reports usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallygate.integrations.openai.form import FilePart
from tallygate.integrations.openai.recordings import count_parts_max
from tallygate.integrations.openai.usage_options import FLAT, NESTED, StreamUsage, UsageFields
from tallygate.integrations.shapes import INPUT_ONLY_SHAPES, Shape


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """The facts of one kind of request.

    Attributes:
        limits: Fields that limit what is generated for each choice; of several that are said, the first counts.
        within: The field in which these stand, and `n`; empty for the request itself.
        smallest: The field with the minimum number of tokens.
        prompts: Fields of which each item is a prompt of its own, where they have a list of them.
        usage: The most that its stream can be made to report of its usage.
        streams: Whether its answer is a stream by default.
        usage_fields: The fields by which it wants usage.
        is_form: Its body is a form.
        cuts_input: Its input is a recording, which servers cut into parts; limits hold for each of these.
    """

    limits: tuple[str, ...] = ()
    within: str = ""
    smallest: str = "min_tokens"
    prompts: tuple[str, ...] = ()
    usage: StreamUsage = StreamUsage.NONE
    streams: bool = False
    usage_fields: UsageFields = NESTED
    is_form: bool = False
    cuts_input: bool = False


_GENERATE = RequestFacts(
    ("max_new_tokens",), "sampling_params", "min_new_tokens", ("text", "input_ids", "input_embeds")
)
_SPEECH = RequestFacts(
    ("max_completion_tokens",), usage=StreamUsage.RUNNING, usage_fields=FLAT, is_form=True, cuts_input=True
)
_FACTS = {
    Shape.CHAT: RequestFacts(("max_completion_tokens", "max_tokens"), usage=StreamUsage.RUNNING),
    Shape.CHAT_BATCH: RequestFacts(("max_completion_tokens", "max_tokens"), prompts=("messages",)),
    Shape.COMPLETION: RequestFacts(("max_tokens",), usage=StreamUsage.RUNNING),
    Shape.RESPONSE: RequestFacts(("max_output_tokens",)),
    Shape.MESSAGES: RequestFacts(("max_tokens",)),
    Shape.COHERE_CHAT: RequestFacts(("max_tokens",)),
    Shape.TOKENS_GENERATE: RequestFacts(("max_tokens",), "sampling_params", usage=StreamUsage.FINAL),
    Shape.GENERATE: _GENERATE,
    Shape.VERTEX: _GENERATE,
    Shape.OLLAMA_CHAT: RequestFacts(("num_predict",), "options", streams=True),
    Shape.OLLAMA_GENERATE: RequestFacts(("num_predict",), "options", streams=True),
    Shape.TRANSCRIPTION: _SPEECH,
    Shape.TRANSLATION: _SPEECH,
}
_OTHERS = RequestFacts()
_INVOCATIONS = (
    (("messages",), Shape.CHAT),
    (("prompt",), Shape.COMPLETION),
    (("query", "documents"), Shape.RERANK),
    (("queries", "documents"), Shape.SCORE),
    (("text_1", "text_2"), Shape.SCORE),
    (("data_1", "data_2"), Shape.SCORE),
    (("input",), Shape.EMBEDDING),
)


def facts_of(shape: Shape) -> RequestFacts:
    """What is particular to a kind."""
    return _FACTS.get(shape, _OTHERS)


def shape_of(shape: Shape, content: Mapping[str, Any]) -> Shape | None:
    """The kind of a request; of an invocation, which may be any, the one that its fields tell; None where none does."""
    if shape is not Shape.INVOCATION:
        return shape
    return next((kind for names, kind in _INVOCATIONS if all(name in content for name in names)), None)


def parameters(shape: Shape, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where a request has its limit and its number of choices."""
    within = facts_of(shape).within
    if not within:
        return content
    said = content.get(within)
    return said if isinstance(said, Mapping) else {}


def prompt_count(shape: Shape, content: Mapping[str, Any]) -> int:
    """How many prompts a request has; into how many parts a recording may be cut."""
    if shape is Shape.COMPLETION:
        return _completion_prompt_count(content)
    if facts_of(shape).cuts_input:
        return max(1, sum(count_parts_max(item.data) for item in content.values() if isinstance(item, FilePart)))
    for name in facts_of(shape).prompts:
        value = content.get(name)
        if isinstance(value, list) and value and _is_list_of_prompts(shape, name, value):
            return len(value)
    return 1


def _completion_prompt_count(content: Mapping[str, Any]) -> int:
    prompt, embeds = content.get("prompt"), content.get("prompt_embeds")
    several = len(embeds) if isinstance(embeds, list) else int(embeds is not None)
    if isinstance(prompt, list) and not all(isinstance(item, int) for item in prompt):
        return len(prompt) + several
    return max(1, several + int(prompt is not None and prompt != []))


def _is_list_of_prompts(shape: Shape, name: str, value: list[Any]) -> bool:
    first = value[0]
    if name == "input_embeds":
        return isinstance(first, list) and bool(first) and isinstance(first[0], list)
    if shape is Shape.CHAT_BATCH:
        return isinstance(first, list)
    return isinstance(first, str | list)


def has_no_prompt(shape: Shape, content: Mapping[str, Any]) -> bool:
    """Whether a request has no prompt. Ollama loads its model for it, or lets it go, and generates nothing.

    SGLang (0.5.23) puts `system` before the prompt, and generates where either is there.
    """
    if shape is Shape.OLLAMA_CHAT:
        return not content.get("messages")
    return shape is Shape.OLLAMA_GENERATE and not (content.get("prompt") or content.get("system"))


def makes_output(shape: Shape) -> bool:
    """Whether requests of a kind generate anything; if not, they are metered by their input alone."""
    return shape not in INPUT_ONLY_SHAPES
