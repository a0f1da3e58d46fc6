"""Events of a stream, as far as metering reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Logprobs:
    """Log probabilities: one entry for each token, of the chat API or of the completions API."""

    content: Any = None
    tokens: Any = None


@dataclass(slots=True)
class Choice:
    """One choice of a chunk. Each member has the type that the server wrote; None stands for one that is missing."""

    index: Any = 0
    delta: Any = None
    text: Any = None
    finish_reason: Any = None
    token_ids: Any = None
    logprobs: Logprobs | None = None
    usage: Any = None


@dataclass(slots=True)
class Chunk:
    """A chunk of the chat or completions API.

    Attributes:
        choices: The list of choices; None where there is none. A choice that is no object is None.
        usage: The usage, of whatever type the server wrote.
        error: The error, of whatever type the server wrote; None where there is none.
    """

    choices: list[Choice | None] | None = None
    usage: Any = None
    error: object = None


@dataclass(slots=True)
class Event:
    """An event of the responses API. Each member has the type that the server wrote; None stands for a missing one."""

    type: Any = None
    sequence_number: Any = None
    output_index: Any = 0
    delta: Any = None
    item: Any = None
    response: Any = None
