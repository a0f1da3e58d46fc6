"""Whole answers of speech to text: JSON with a text in it, plain text, or subtitles."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from tallygate.integrations.openai.answer import MeteredAnswer, Reading, find_usage
from tallygate.integrations.openai.estimate import tokens_of
from tallygate.integrations.openai.events import is_bare_error
from tallygate.integrations.openai.json_members import MemberScanner, small_members
from tallygate.integrations.openai.recordings import INPUT_TOKENS_PER_SECOND
from tallygate.integrations.openai.usage_blocks import COUNT_MAX

_UNSPOKEN: Final = re.compile(
    rb"\A(?:\xef\xbb\xbf)?WEBVTT\r*(?=\n)|(?m:^)(?:[0-9]++\r?\n)?[0-9:.,]++ *+--> *+[0-9:.,]++[^\n]*+"
)
"""Beginning of subtitles, and lines with the times of each, with their numbers before them."""


class SpeechAnswer(MeteredAnswer):
    """Keeps of an answer what is needed to find its usage, or to estimate it. Pure."""

    __slots__ = ()

    def read(self, choices_per_prompt: int = 1) -> Reading:  # noqa: ARG002  # there is one
        """The counts, as far as the answer came: tokens, or the length of the recording, and its text."""
        if self._scanner is not None:
            return self._read_scanned(self._scanner, self._size)
        body = b"".join(self._kept)
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            said = None
        if isinstance(said, Mapping):
            ids = _count_ids(said)
            return _reading(said, ids or _count_text(said))._replace(is_rough=not ids)
        if said is not None:
            return Reading(None, tokens_of(len(body.strip())), is_refusal=False)
        scanner = MemberScanner()
        scanner.feed(body)
        spoken = [line.strip() for line in _UNSPOKEN.sub(b"", body).splitlines()]
        return self._read_scanned(scanner, len(b" ".join(filter(None, spoken))))

    def _read_scanned(self, scanner: MemberScanner, text_bytes: int) -> Reading:
        """Of one that is too long, broken off, or no JSON; `text_bytes` hold unless it has a member for its text."""
        if not scanner.is_object or scanner.has_more:
            return Reading(None, tokens_of(text_bytes), is_refusal=False)
        begin, end = scanner.spans.get("text", (0, text_bytes))
        return _reading(small_members(scanner), tokens_of(end - begin))


def _reading(said: Mapping[str, object], tokens: int) -> Reading:
    usage = find_usage(said)
    if usage is not None:
        return Reading(usage, 0, is_refusal=False)
    is_error = bool(said.get("error")) or is_bare_error(b"", said)
    return Reading(None, tokens, is_error and "text" not in said, _count_input(said))


def _count_ids(said: Mapping[str, object]) -> int:
    """By the ids of its segments; 0 unless all of these have them."""
    segments = said.get("segments")
    ids = [segment.get("tokens") for segment in segments if isinstance(segment, Mapping)] if _is_list(segments) else []
    counts = [len(each) for each in ids if _is_list(each)]
    return sum(counts) if len(counts) == len(ids) else 0


def _count_text(said: Mapping[str, object]) -> int:
    text = said.get("text")
    return tokens_of(len(text.encode("utf-8", "surrogatepass"))) if isinstance(text, str) else 0


def _count_input(said: Mapping[str, object]) -> int | None:
    """By how long the recording was, in seconds; None where that is not said, or cannot be."""
    usage = said.get("usage")
    for seconds in (said.get("duration"), usage.get("seconds") if isinstance(usage, Mapping) else None):
        if isinstance(seconds, int | float) and 0 < seconds <= COUNT_MAX // INPUT_TOKENS_PER_SECOND:
            return math.ceil(seconds * INPUT_TOKENS_PER_SECOND)
    return None


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
