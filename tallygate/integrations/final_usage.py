"""The final usage of a request: derived from how the request ended and what its server counted."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tallygate.client import Usage

_OK = range(200, 300)
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Facts:
    """How a request ended.

    Attributes:
        estimated_input: Input tokens as estimated before the model ran.
        usage: The server's own counts, the last that it reported; None if it reported none.
        tokens: Output tokens that were counted since then by what passed, or are estimated otherwise.
        reasoning: Reasoning tokens among these.
        status: The server's status; None if it sent none.
        is_complete: Whether the server's answer came to its end.
        is_stopped: Whether the middleware ended the request.
        has_raised: Whether the server raised an exception.
        has_left: Whether the client hung up before that.
        is_refusal: Whether the server reported an error before anything was generated.
        problem: What was wrong with the server's answer, in a few words.
        is_as_ever: Whether servers never report the tokens of such an answer; then nothing is wrong where none are
            reported.
    """

    estimated_input: int
    usage: Usage | None
    tokens: int
    reasoning: int
    status: int | None
    is_complete: bool
    is_stopped: bool
    has_raised: bool
    has_left: bool
    is_refusal: bool
    problem: str
    is_as_ever: bool = False


@dataclass(frozen=True, slots=True)
class FinalUsage:
    """Counts to record.

    Attributes:
        usage: The counts.
        estimated: Whether they are an estimate.
        remark: What is worth a line in the log; empty where all is as it should be.
    """

    usage: Usage
    estimated: bool
    remark: str


def derive_final_usage(facts: Facts) -> FinalUsage:
    """Derives the counts to record.

    They are the server's own counts, and what passed since it reported them; an estimate where it reported none. They
    are zero for a request that the server refused or failed to answer, whatever its status. An answer that broke off
    after it began is recorded as far as it went, whether the server, the client or the middleware broke it off.
    """
    if facts.is_refusal:
        return FinalUsage(Usage(), estimated=False, remark="")
    if facts.usage is not None and (facts.usage.total_tokens or not facts.tokens):
        return _by_usage(facts, facts.usage)
    if facts.status is not None and facts.status not in _OK:
        failed = facts.status >= _SERVER_ERROR
        return FinalUsage(Usage(), failed, f"the server answered with {facts.status}" if failed else "")
    is_broken_off = facts.is_stopped or facts.has_left
    if facts.status is None and not is_broken_off and (facts.has_raised or facts.is_complete):
        return FinalUsage(Usage(), estimated=True, remark="the server failed before it answered")
    usage = Usage(
        input_tokens=facts.estimated_input,
        output_tokens=facts.tokens - facts.reasoning,
        reasoning_tokens=facts.reasoning,
    )
    return FinalUsage(usage, estimated=True, remark=_why_none(facts))


def _by_usage(facts: Facts, said: Usage) -> FinalUsage:
    remark = facts.problem if facts.is_complete else _why_none(facts)
    if not said.input_class_tokens and said.output_class_tokens and facts.estimated_input:
        said = replace(said, input_tokens=facts.estimated_input)
        usage = _with_tokens(facts, said)
        return FinalUsage(usage, estimated=True, remark=remark or "the server said nothing of its input")
    if not facts.tokens:
        return FinalUsage(said, estimated=False, remark=remark)
    return FinalUsage(_with_tokens(facts, said), estimated=True, remark=remark or "the server said no usage at the end")


def _with_tokens(facts: Facts, said: Usage) -> Usage:
    """The counts that a server reported, and what was counted since."""
    return replace(
        said,
        output_tokens=said.output_tokens + facts.tokens - facts.reasoning,
        reasoning_tokens=said.reasoning_tokens + facts.reasoning,
    )


def _why_none(facts: Facts) -> str:
    """Why there are no final counts of the server's own."""
    if facts.is_stopped:
        return "it was stopped"
    if facts.has_left:
        return "the client hung up"
    if facts.has_raised:
        return "the server failed in the middle of its answer"
    if not facts.is_complete:
        return "the client hung up"
    return facts.problem or ("" if facts.is_as_ever else "the server said no usage")
