"""What a request asks for, and the body that is passed on in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallygate.integrations.openai.assembly import can_stream
from tallygate.integrations.openai.limits import count_fields, lowered, read_limits
from tallygate.integrations.openai.request_facts import asks_nothing, facts_of, shape_of
from tallygate.integrations.openai.request_json import (
    BadRequestError,
    changed_body,
    parse_body,
    read_count,
    read_truth,
    refuse_lookalikes,
)
from tallygate.integrations.openai.usage_options import StreamUsage, UsageOptions, ask_for_usage, least_usage
from tallygate.integrations.openai.vertex import PARAMETERS, unwrapped
from tallygate.integrations.shapes import Shape

__all__ = ["Asked", "BadRequestError", "Shape", "capped", "read_request"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TRUTHS = frozenset({"stream", "echo", "background", "store", "use_beam_search"})
_USAGE_TRUTHS = ("include_usage", "continuous_usage_stats")
_UNCOUNTED = "bytes_only"
"""Vectors and nothing else, in vLLM (0.32): what they cost is said nowhere."""
_STORED = ("previous_response_id", "conversation")
_NAMES = frozenset({"model", "prompt", "messages", "input", "stream_options", *_TRUTHS, *_STORED})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for.

    Attributes:
        shape: Which API.
        content: The body, parsed; of Vertex AI's, the body for /generate that it stands for.
        body: The body as it is passed on.
        model: The model, as the client spells it; empty where it names none.
        choices: How many answers are generated side by side, over all prompts.
        prompts: How many prompts it has.
        max_output_tokens: At most so many tokens are generated, over all choices; None where it does not say.
        min_output_tokens: A whole answer is of use from so many on, over all choices.
        wants_usage: The client itself asked for a chunk with usage at the end of its stream.
        hides_usage: That chunk was asked for on the client's behalf and must not reach it.
        hides_running: Usage in all other chunks was asked for on its behalf, too.
        usage: How its stream was asked for its usage.
        streams: It asks for a stream.
        echoes: It asks for its prompt at the beginning of the answer.
        assembles: Its client asked for a whole answer, which is put together from the stream.
    """

    shape: Shape
    content: Mapping[str, Any]
    body: bytes
    model: str
    choices: int
    prompts: int
    max_output_tokens: int | None
    min_output_tokens: int
    wants_usage: bool
    hides_usage: bool
    hides_running: bool
    usage: StreamUsage
    streams: bool
    echoes: bool
    assembles: bool = False

    @property
    def choices_per_prompt(self) -> int:
        """How many answers are generated side by side for each prompt."""
        return max(1, self.choices // self.prompts)

    @property
    def adds_usage(self) -> bool:
        """Whether something was added to the request, so that its stream says its usage."""
        adds_shown = self.assembles and self.usage in {StreamUsage.FINAL, StreamUsage.RUNNING}
        return self.hides_usage or self.hides_running or adds_shown


def read_request(
    shape: Shape, raw: bytes, usage: StreamUsage = StreamUsage.RUNNING, *, streams_whole: bool = False
) -> Asked:
    """Reads a request's body.

    Args:
        shape: Which API.
        raw: The body.
        usage: How the server is made to say the usage of a stream.
        streams_whole: A whole answer is fetched as a stream, where that says the same.

    Raises:
        BadRequestError: It is no JSON object, readers could differ about it, or it asks for what cannot be metered.
    """
    raw = raw.removeprefix(_BYTE_ORDER_MARK)
    content = parse_body(raw)
    kind = shape_of(shape, content)
    if kind is None:
        raise BadRequestError("The request has the fields of none of the kinds that are metered here.")
    shape = kind
    if content.get("encoding_format") == _UNCOUNTED:
        raise BadRequestError(
            f"Embeddings as `{_UNCOUNTED}` come without usage: ask for `bytes`, `base64` or `float`.", "encoding_format"
        )
    content, raw = _read_plainly(shape, content, raw)
    model = content.get("model") or ""
    if not isinstance(model, str):
        raise BadRequestError("The name of the model is not a string.", "model")
    if asks_nothing(shape, content):
        # Nothing is held for it but this token, should a server generate all the same.
        changes = lowered(shape, content, 1)
        content, raw = {**content, **changes}, changed_body(raw, content, changes)
    limits = read_limits(shape, content)
    streams = facts_of(shape).streams if content.get("stream") is None else content["stream"] is True
    assembles = streams_whole and not streams and can_stream(shape, content)
    if assembles:
        streams, changes = True, {"stream": True}
        content, raw = {**content, **changes}, changed_body(raw, content, changes)
    options = UsageOptions(wants_usage=False, hides_usage=False, hides_running=False, body=raw)
    usage = least_usage(usage, facts_of(shape).usage)
    if streams and facts_of(shape).usage is not StreamUsage.NONE:
        options = ask_for_usage(content, raw, usage, is_true=bool)
    return Asked(
        shape=shape,
        content=content,
        body=options.body,
        model=model,
        choices=limits.choices,
        prompts=limits.prompts,
        max_output_tokens=limits.max_output_tokens,
        min_output_tokens=limits.min_output_tokens,
        wants_usage=options.wants_usage or assembles,
        hides_usage=options.hides_usage and not assembles,
        hides_running=options.hides_running,
        usage=usage,
        streams=streams,
        echoes=content.get("echo") is True,
        assembles=assembles,
    )


def capped(asked: Asked, tokens: int) -> bytes:
    """The body to pass on, so that the server itself ends after so many tokens, over all choices.

    Args:
        asked: The request.
        tokens: At least one for each choice.
    """
    if not facts_of(asked.shape).limits:
        return asked.body
    changes = lowered(asked.shape, asked.content, tokens // asked.choices)
    return _changed(asked.shape, asked.body, parse_body(asked.body), changes)


def _read_plainly(shape: Shape, content: dict[str, Any], raw: bytes) -> tuple[dict[str, Any], bytes]:
    """A request as every reader reads it, and its body."""
    whole = content
    content = unwrapped(whole) if shape is Shape.VERTEX else whole
    refuse_lookalikes(content, _NAMES.union(count_fields(shape), {facts_of(shape).within} - {""}))
    changes = _plain_counts(shape, content)
    for name in _TRUTHS.intersection(content):
        truth = read_truth(content, name)
        if content[name] is not None and content[name] is not truth:
            changes[name] = truth
    options = content.get("stream_options")
    if isinstance(options, Mapping):
        plain = {name: read_truth(options, name) for name in _USAGE_TRUTHS if options.get(name) is not None}
        if any(options[name] is not truth for name, truth in plain.items()):
            changes["stream_options"] = {**options, **plain}
    changes |= _storing_nothing(shape, {**content, **changes})
    return {**content, **changes} if changes else content, _changed(shape, raw, whole, changes)


def _changed(shape: Shape, raw: bytes, content: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:
    """The body with some fields changed, where this kind has them."""
    if changes and shape is Shape.VERTEX:
        changes = {PARAMETERS: {**(content.get(PARAMETERS) or {}), **changes}}
    return changed_body(raw, content, changes)


def _plain_counts(shape: Shape, content: Mapping[str, Any]) -> dict[str, Any]:
    """What to change so that counts are whole numbers to every reader."""
    within = facts_of(shape).within
    said = content if not within else {} if content.get(within) is None else content[within]
    if not isinstance(said, Mapping):
        raise BadRequestError(f"`{within}` is not one object for all prompts.", within)
    counts = {name: read_count(said, name) for name in count_fields(shape) if name in said}
    changes = {name: count for name, count in counts.items() if count is not None and type(said[name]) is not int}
    return {within: {**said, **changes}} if within and changes else changes


def _storing_nothing(shape: Shape, content: Mapping[str, Any]) -> dict[str, Any]:
    """What to change so that the server keeps no answer, which anybody could read who knows its id."""
    if content.get("background"):
        raise BadRequestError(
            "What runs in the background cannot be metered here: leave `background` out.", "background"
        )
    for name in _STORED:
        if content.get(name) is not None:
            raise BadRequestError(f"Answers are not stored here: leave `{name}` out, and send all of `input`.", name)
    keeps = content.get("store") is not False if shape is Shape.RESPONSE else content.get("store")
    return {"store": False} if keeps else {}
