"""The body of a request, parsed, and the body that is passed on in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tallygate.integrations.openai.assembly import can_stream
from tallygate.integrations.openai.encodings import JSON, VERTEX, Encoding
from tallygate.integrations.openai.limits import count_fields, lowered, read_limits
from tallygate.integrations.openai.request_facts import facts_of, has_no_prompt, shape_of
from tallygate.integrations.openai.request_json import (
    BadRequestError,
    read_count,
    read_truth,
    refuse_lookalikes,
)
from tallygate.integrations.openai.usage_options import NO_USAGE, StreamUsage, UsageOptions, least_usage, request_usage
from tallygate.integrations.shapes import Shape

__all__ = ["BadRequestError", "ParsedRequest", "Shape", "capped", "read_request"]

_TRUTHS = frozenset({"stream", "echo", "background", "store", "use_beam_search"})
_UNCOUNTED = "bytes_only"
"""Format of embeddings in vLLM (0.32) that has vectors only: their tokens are reported nowhere."""
_STORED = ("previous_response_id", "conversation")
_NAMES = frozenset({"model", "prompt", "messages", "input", "stream_options", *_TRUTHS, *_STORED})


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """The body of one request, as far as metering reads it.

    Attributes:
        shape: The API that it belongs to.
        encoding: The way in which the body is written.
        content: The fields of the body; of Vertex AI's, the body for /generate that it stands for.
        body: The body as it is passed on.
        model: The model, as the client spells it; empty where it names none.
        choices: Number of answers that are generated side by side, over all prompts.
        prompts: Number of prompts.
        max_output_tokens: Maximum number of tokens generated, over all choices; None where the body does not say.
        min_output_tokens: Minimum number of tokens, over all choices, with which a whole answer is of use.
        wants_usage: Whether the client itself requested a chunk with usage at the end of its stream.
        hides_usage: Whether that chunk was requested on the client's behalf and must not reach it.
        hides_running: Whether usage in all other chunks was requested on its behalf, too.
        usage: The way in which the stream's usage was requested.
        streams: Whether a stream is requested.
        echoes: Whether the prompt is requested at the beginning of the answer.
        assembles: Whether the client requested a whole answer, which is put together from the stream.
    """

    shape: Shape
    encoding: Encoding
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
        """Number of answers that are generated side by side for each prompt."""
        return max(1, self.choices // self.prompts)

    @property
    def limits_parts(self) -> bool:
        """Whether a limit holds for each of any number of parts into which its input is cut, and not for the answer."""
        return self.streams and facts_of(self.shape).cuts_input

    @property
    def adds_usage(self) -> bool:
        """Whether something was added to the request, so that its stream reports its usage."""
        adds_shown = self.assembles and self.usage in {StreamUsage.FINAL, StreamUsage.RUNNING}
        return self.hides_usage or self.hides_running or adds_shown


def read_request(
    shape: Shape,
    raw: bytes,
    usage: StreamUsage = StreamUsage.RUNNING,
    *,
    encoding: Encoding = JSON,
    streams_whole: bool = False,
) -> ParsedRequest:
    """Reads a request's body.

    Args:
        shape: Which API.
        raw: The body.
        usage: The way in which the server is made to report the usage of a stream.
        encoding: How the body is written.
        streams_whole: A whole answer is fetched as a stream, where that says the same.

    Raises:
        BadRequestError: It cannot be read, readers could differ about it, or it asks for what cannot be metered.
    """
    encoding = VERTEX if shape is Shape.VERTEX else encoding
    content, raw = encoding.read(raw)
    shape = _find_kind(shape, content)
    plain = _plain_fields(shape, content)
    content, raw = {**content, **plain}, encoding.change(raw, content, plain)
    model = content.get("model") or ""
    if not isinstance(model, str):
        raise BadRequestError("The name of the model is not a string.", "model")
    if has_no_prompt(shape, content):
        # Nothing is held for it but this token, should a server generate all the same.
        changes = lowered(shape, content, 1)
        content, raw = {**content, **changes}, encoding.change(raw, content, changes)
    limits = read_limits(shape, content)
    streams = facts_of(shape).streams if content.get("stream") is None else content["stream"] is True
    assembles = streams_whole and not streams and can_stream(shape, content)
    if assembles:
        streams, changes = True, {"stream": True}
        content, raw = {**content, **changes}, encoding.change(raw, content, changes)
    usage = least_usage(usage, facts_of(shape).usage)
    options = _usage_options(shape, content, usage) if streams else NO_USAGE
    return ParsedRequest(
        shape=shape,
        encoding=encoding,
        content=content,
        body=encoding.change(raw, content, options.changes),
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


def capped(parsed: ParsedRequest, tokens: int) -> bytes:
    """The body to pass on, so that the server itself ends after `tokens`.

    Args:
        parsed: The request.
        tokens: Maximum number over all choices; at least one for each.
    """
    if not facts_of(parsed.shape).limits:
        return parsed.body
    changes = lowered(parsed.shape, parsed.content, tokens // parsed.choices)
    return parsed.encoding.change(parsed.body, parsed.encoding.read(parsed.body)[0], changes)


def _find_kind(shape: Shape, content: Mapping[str, Any]) -> Shape:
    """The kind of a request that can be metered."""
    kind = shape_of(shape, content)
    if kind is None:
        raise BadRequestError("The request has the fields of none of the kinds that are metered here.")
    if content.get("encoding_format") == _UNCOUNTED:
        raise BadRequestError(
            f"Embeddings as `{_UNCOUNTED}` come without usage: ask for `bytes`, `base64` or `float`.", "encoding_format"
        )
    return kind


def _usage_options(shape: Shape, content: Mapping[str, Any], usage: StreamUsage) -> UsageOptions:
    facts = facts_of(shape)
    return NO_USAGE if facts.usage is StreamUsage.NONE else request_usage(content, usage, facts.usage_fields)


def _plain_fields(shape: Shape, content: Mapping[str, Any]) -> dict[str, Any]:
    """What to change of a request so that every reader reads the same."""
    fields, (truths, names) = facts_of(shape).usage_fields, _known_names(shape)
    refuse_lookalikes(content, names)
    changes = _plain_counts(shape, content) | _plain_truths(content, truths)
    if fields.within and (options := fields.find(content)):
        plain = _plain_truths(options, (fields.final, fields.running))
        changes |= fields.changes(content, plain) if plain else {}
    return changes | _storing_nothing(shape, {**content, **changes})


@cache
def _known_names(shape: Shape) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the fields that are true or false, and of all that decide anything, which nothing may look like."""
    facts = facts_of(shape)
    fields = facts.usage_fields
    truths = _TRUTHS if fields.within else _TRUTHS.union((fields.final, fields.running))
    return truths, _NAMES.union(truths, count_fields(shape), {facts.within} - {""})


def _plain_truths(content: Mapping[str, Any], names: Iterable[str]) -> dict[str, bool]:
    """Those of these fields that are true or false in other words."""
    truths = {name: read_truth(content, name) for name in names if content.get(name) is not None}
    return {name: truth for name, truth in truths.items() if content[name] is not truth}


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
