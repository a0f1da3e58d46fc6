"""What is recorded of a request that has ended, and on what it rests."""

from __future__ import annotations

from dataclasses import dataclass

from tallygate.client import Usage

_OK = range(200, 300)
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Facts:
    """How a request ended.

    Attributes:
        estimated_input: Input tokens as estimated before the model ran.
        tokens: Output tokens as counted on their way.
        reasoning: Of these, reasoning tokens.
        usage: The server's own counts, if it said any.
        status: The server's status; None if it said none.
        is_complete: The server's answer came to its end.
        is_stopped: It was ended from here.
        has_raised: The server raised an exception.
        problem: What was wrong with its answer, in a few words.
    """

    estimated_input: int
    tokens: int
    reasoning: int
    usage: Usage | None
    status: int | None
    is_complete: bool
    is_stopped: bool
    has_raised: bool
    problem: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is recorded. `remark` says what is worth a line in the log; it is empty where all is as it should be."""

    usage: Usage
    estimated: bool
    remark: str


def judge(facts: Facts) -> Verdict:
    """Decides what is recorded.

    The server's own counts where it says any, else an estimate that says so; nothing for requests that a server refused
    or failed to answer. An answer that broke off after it began is recorded as far as it went, whoever broke it off.
    """
    if facts.usage is not None:
        return _by_usage(facts, facts.usage)
    if facts.status is not None and facts.status not in _OK:
        failed = facts.status >= _SERVER_ERROR
        return Verdict(Usage(), failed, f"the server answered with {facts.status}" if failed else "")
    if facts.status is None and not facts.is_stopped and (facts.has_raised or facts.is_complete):
        return Verdict(Usage(), estimated=True, remark="the server failed before it answered")
    usage = Usage(
        input_tokens=facts.estimated_input,
        output_tokens=facts.tokens - facts.reasoning,
        reasoning_tokens=facts.reasoning,
    )
    return Verdict(usage, estimated=True, remark=_why_none(facts))


def _by_usage(facts: Facts, said: Usage) -> Verdict:
    if facts.is_complete:
        remark = facts.problem
        if facts.tokens > said.output_class_tokens:
            remark = remark or f"the server counted {said.output_class_tokens} tokens in {facts.tokens} pieces of text"
        return Verdict(said, estimated=False, remark=remark)
    more = max(0, facts.tokens - said.output_class_tokens)
    usage = Usage(
        said.input_tokens,
        said.cached_input_tokens,
        said.cache_write_tokens,
        said.output_tokens + more,
        said.reasoning_tokens,
    )
    return Verdict(usage, estimated=True, remark=_why_none(facts))


def _why_none(facts: Facts) -> str:
    """Why there are no final counts of the server's own."""
    if facts.is_stopped:
        return "it was stopped"
    if facts.has_raised:
        return "the server failed in the middle of its answer"
    if not facts.is_complete:
        return "the client hung up"
    return facts.problem or "the server said no usage"
