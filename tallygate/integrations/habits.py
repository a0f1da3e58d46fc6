"""Habits of the server behind, learned while it serves: the ways in which it reports usage, and its speed."""

from __future__ import annotations

import logging

from tallygate.integrations.openai.usage_options import StreamUsage

_NEXT = {StreamUsage.RUNNING: StreamUsage.FINAL, StreamUsage.FINAL: StreamUsage.NONE}
_MORE = {
    StreamUsage.FINAL: {StreamUsage.RUNNING},
    StreamUsage.NONE: {StreamUsage.RUNNING, StreamUsage.FINAL},
}
_ANSWERS_MAX = 64

_log = logging.getLogger("tallygate.integrations.asgi")


class ServerHabits:
    """Of one server. Pure, but for lines in the log.

    Attributes:
        usage: The way in which streams are made to report their usage.
    """

    def __init__(self, usage: StreamUsage, *, is_asked_once: bool = False) -> None:
        """`is_asked_once`: a request that was refused cannot be sent again with less added to it."""
        self.usage = usage
        self._is_asked_once = is_asked_once
        self._has_warned = False
        self._is_sure = False
        self._tokens = 0
        self._ns = 0
        self._answers = 0

    def lesser(self, usage: StreamUsage) -> StreamUsage | None:
        """The way to request usage after a refusal of this one; None where the refusal has another reason."""
        if self._is_asked_once:
            self._warn_of_refusal(usage)
            return None
        if self._is_sure:
            # Others may have found it out since that request was sent.
            return self.usage if usage in _MORE.get(self.usage, ()) else None
        return _NEXT.get(usage)

    def accept(self, usage: StreamUsage) -> None:
        """Notes that a stream whose usage was requested in this way has begun."""
        if not self._is_sure and usage is not self.usage:
            _log.warning(
                "The server refuses to say the usage of its streams when asked as before: from here on it is asked for "
                "%s usage. Set TALLYGATE_STREAM_USAGE=%s to have it so from the start.",
                "no" if usage is StreamUsage.NONE else "final",
                usage.value,
            )
        self.usage = usage
        self._is_sure = True

    def _warn_of_refusal(self, usage: StreamUsage) -> None:
        lesser = _NEXT.get(usage)
        if lesser is not None and not (self._is_sure or self._has_warned):
            self._has_warned = True
            _log.warning(
                "The server refused a stream that was asked for %s usage. If it refuses all of them, set "
                "TALLYGATE_STREAM_USAGE=%s: behind Envoy, no request can be sent again with less added to it.",
                usage.value,
                lesser.value,
            )

    def note_answer(self, tokens: int, ns: int) -> None:
        """Notes the output tokens and the duration of a whole answer; the weight of old ones halves with time."""
        self._tokens += tokens
        self._ns += ns
        self._answers += 1
        if self._answers >= _ANSWERS_MAX:
            self._tokens //= 2
            self._ns //= 2
            self._answers //= 2

    def guess_tokens(self, ns: int) -> int:
        """Number of tokens that a whole answer probably had after `ns`, by earlier ones; 1 where there were none."""
        return max(1, self._tokens * ns // self._ns) if self._ns else 1
