"""The usage that a server has reported while it streams, and the tokens counted since."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tallygate.client import Usage
from tallygate.integrations.openai.usage import read_usage, usage_problem

ROUGH_PIECES_PER_TOKEN_MAX = 16
"""Maximum number of pieces of text for a token; with more, the server is taken to disregard its limit."""


class EventCounts(NamedTuple):
    """The counts that one event carries.

    Attributes:
        pieces: Number of tokens by its pieces of text, ids or log probabilities.
        reasoning: Of these, tokens of reasoning.
        rough: Of these, tokens that are guessed: one for each piece of text.
        running: Usage reported of single choices so far, each with the choice's index.
        total: Usage reported of the whole answer.
    """

    pieces: int = 0
    reasoning: int = 0
    rough: int = 0
    running: tuple[tuple[int, object], ...] = ()
    total: object = None


class ReportedUsage:
    """Adds up what is known of the tokens of one streamed answer. Pure.

    The server's reports count. Pieces are counted from its last report on: an estimate that the next report replaces,
    downwards too.

    Attributes:
        tokens: Of the output class, the most that was known at any time; for the hold. Never shrinks.
        reasoning: Of these, for reasoning.
        since: Tokens counted by pieces since the server's last usage.
        since_reasoning: Of these, for reasoning.
    """

    __slots__ = (
        "_choices_per_prompt",
        "_limit",
        "_on_refused",
        "_plain",
        "_rough",
        "_running",
        "_said_output",
        "_total",
        "reasoning",
        "since",
        "since_reasoning",
        "tokens",
    )

    def __init__(self, limit: int | None, choices_per_prompt: int, on_refused: Callable[[str], None]) -> None:
        """Begins with nothing.

        Args:
            limit: Maximum number of tokens in the request for the server, over all choices; None where it has none.
            choices_per_prompt: Number of answers that it generates side by side for each prompt.
            on_refused: Called where it reports usage that cannot be, with what is wrong with it.
        """
        self._limit = limit
        self._choices_per_prompt = choices_per_prompt
        self._on_refused = on_refused
        self._running: dict[int, Usage] = {}
        self._plain: tuple[int, int] | None = None
        self._total: Usage | None = None
        self._said_output = 0
        self._rough = 0
        self.since = 0
        self.since_reasoning = 0
        self.tokens = 0
        self.reasoning = 0

    @property
    def usage(self) -> Usage | None:
        """The server's own counts, the last ones; what these leave out is taken from earlier ones."""
        running = self._sum()
        return running if self._total is None else _filled(self._total, running)

    def add_piece(self, *, is_reasoning: bool) -> None:
        """One more piece of text."""
        self.since += 1
        self._rough += 1
        if is_reasoning:
            self.since_reasoning += 1
            self.reasoning += 1
        tokens = self._said_output + self.since
        if tokens > self.tokens:
            self.tokens = tokens if self._limit is None or tokens <= self._limit else self._within_limit(tokens)

    def set_running(self, input_tokens: int, output_tokens: int) -> None:
        """Running usage of an answer with one choice, without particulars."""
        self._plain = (input_tokens, output_tokens)
        self._note_report(output_tokens)

    def take(self, counts: EventCounts) -> None:
        """What one event carries."""
        if counts.pieces:
            self.since += counts.pieces
            self._rough += counts.rough
            self.since_reasoning += counts.reasoning
            self.reasoning += counts.reasoning
        is_said = False
        for index, block in counts.running:
            said = self._read(block)
            if said is not None and self._counts(said):
                # A server that reports no output beside its text counts only later.
                is_said = is_said or bool(said.output_class_tokens or not self.since)
                self._plain = None
                self._running[index] = _filled(said, self._running.get(index))
        if counts.total is not None and (said := self._read(counts.total)) is not None and self._counts(said):
            is_said = True
            self._total = _filled(said, self._total)
        if is_said and (usage := self.usage) is not None:
            self._note_report(usage.output_class_tokens)
            self.reasoning = max(self.reasoning, usage.reasoning_tokens)
        else:
            tokens = self._said_output + self.since
            if tokens > self.tokens:
                self.tokens = max(self.tokens, self._within_limit(tokens))

    def _counts(self, said: Usage) -> bool:
        """Whether the usage reports anything: where text came, zeros are only filled in."""
        return bool(said.total_tokens or not (self.since or self._said_output))

    def _note_report(self, output_tokens: int) -> None:
        self._said_output = output_tokens
        self.since = self.since_reasoning = self._rough = 0
        self.tokens = max(self.tokens, output_tokens)

    def _within_limit(self, tokens: int) -> int:
        """A server ends by itself at its limit, however many pieces it cuts a token into."""
        if self._limit is None or tokens <= self._limit or not self._rough:
            return tokens
        sure = tokens - self._rough + self._rough // ROUGH_PIECES_PER_TOKEN_MAX
        return max(self._limit, sure)

    def _read(self, block: object) -> Usage | None:
        usage = read_usage(block)
        problem = usage_problem(block) if usage is None else ""
        if problem:
            self._on_refused(problem)
        return usage

    def _sum(self) -> Usage | None:
        """Running usage over all choices: each reports its own output, and the input of its own prompt."""
        if self._plain is not None:
            self._running[0] = _filled(Usage(self._plain[0], output_tokens=self._plain[1]), self._running.get(0))
            self._plain = None
        if not self._running:
            return None
        if len(self._running) == 1:
            return next(iter(self._running.values()))
        prompts: dict[int, Usage] = {}
        for index, usage in self._running.items():
            prompt = index // self._choices_per_prompt
            if prompt not in prompts or usage.input_class_tokens > prompts[prompt].input_class_tokens:
                prompts[prompt] = usage
        return Usage(
            sum(usage.input_tokens for usage in prompts.values()),
            sum(usage.cached_input_tokens for usage in prompts.values()),
            sum(usage.cache_write_tokens for usage in prompts.values()),
            sum(usage.output_tokens for usage in self._running.values()),
            sum(usage.reasoning_tokens for usage in self._running.values()),
        )


def _filled(said: Usage, before: Usage | None) -> Usage:
    """What was said last; totals and details that it leaves out are taken from what was said before."""
    if before is None:
        return said
    went_in = said.input_class_tokens or before.input_class_tokens
    came_out = said.output_class_tokens or before.output_class_tokens
    cached, written = max(_cache(said), _cache(before), key=sum)
    if cached + written > went_in:
        cached, written = _cache(said)
    reasoning = min(max(said.reasoning_tokens, before.reasoning_tokens), came_out)
    return Usage(went_in - cached - written, cached, written, came_out - reasoning, reasoning)


def _cache(usage: Usage) -> tuple[int, int]:
    return usage.cached_input_tokens, usage.cache_write_tokens
