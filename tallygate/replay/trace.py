"""Traces: the times of requests, their lengths, and how much they generated."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tallygate.replay.trace_file import LineError, TraceError, read_lines
from tallygate.replay.trace_formats import FORMATS, TOKENS_MAX, TraceFormat, format_of

__all__ = ["TOKENS_MAX", "Trace", "TraceError", "TraceRow", "read_trace"]


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One request, so long after the first one. `source`: the model or kind of request that the trace names."""

    index: int
    offset_us: int
    context_tokens: int
    generated_tokens: int
    source: str = ""


@dataclass(slots=True)
class Trace:
    """All requests of a trace, in four arrays of integers so that a long one stays small."""

    offsets_us: array[int] = field(default_factory=lambda: array("q"))
    context_tokens: array[int] = field(default_factory=lambda: array("q"))
    generated_tokens: array[int] = field(default_factory=lambda: array("q"))
    sources: array[int] = field(default_factory=lambda: array("l"))
    """Of each request, where its source stands in `source_numbers`."""
    source_numbers: dict[str, int] = field(default_factory=dict)
    start_us: int | None = None
    """The time of day of the first request, where the trace says it, in microseconds since 1970."""
    late_count: int = 0
    """Number of requests that stood behind a later one, before they were sorted."""

    def __len__(self) -> int:
        return len(self.offsets_us)

    def append(self, offset_us: int, context_tokens: int, generated_tokens: int, source: str = "") -> None:
        """Adds a request."""
        self.offsets_us.append(offset_us)
        self.context_tokens.append(context_tokens)
        self.generated_tokens.append(generated_tokens)
        self.sources.append(self.source_numbers.setdefault(source, len(self.source_numbers)))

    def rows(self, start: int = 0, step: int = 1) -> Iterator[TraceRow]:
        """Every `step`-th request from `start` on."""
        names = list(self.source_numbers)
        for index in range(start, len(self), step):
            yield TraceRow(
                index,
                self.offsets_us[index],
                self.context_tokens[index],
                self.generated_tokens[index],
                names[self.sources[index]],
            )

    def part(self, start: int, stop: int) -> Trace:
        """Some of the requests, the first of which then comes at once."""
        base_us = self.offsets_us[start] if start < len(self) else 0
        return Trace(
            array("q", (offset_us - base_us for offset_us in self.offsets_us[start:stop])),
            self.context_tokens[start:stop],
            self.generated_tokens[start:stop],
            self.sources[start:stop],
            self.source_numbers,
        )


def read_trace(path: Path) -> Trace:
    """Reads and checks a whole trace; raises TraceError for the first thing that is wrong with it.

    Requests that are out of order are sorted by their times, and counted.
    """
    trace = Trace()
    kind: TraceFormat | None = None
    last_us = 0
    for number, line in read_lines(path):
        if kind is None:
            kind = format_of(line)
            if kind is None:
                raise TraceError(f"{path}: line 1 must be {FORMATS}")
            if kind.has_header:
                continue
        try:
            parsed = kind.parse(line)
        except LineError as error:
            raise TraceError(f"{path}: line {number} {error}") from error
        trace.late_count += parsed.time_us < last_us
        last_us = max(last_us, parsed.time_us)
        trace.append(*parsed)
    if not len(trace):
        raise TraceError(f"{path} is empty" if kind is None else f"{path} has a header but no requests")
    return _from_the_first(trace, has_wall_clock=kind is not None and kind.has_wall_clock)


def _from_the_first(trace: Trace, *, has_wall_clock: bool) -> Trace:
    """The requests in order, at times since the first one."""
    times_us = trace.offsets_us
    first_us = min(times_us)
    order = range(len(trace)) if not trace.late_count else sorted(range(len(trace)), key=times_us.__getitem__)
    return Trace(
        array("q", (times_us[index] - first_us for index in order)),
        array("q", (trace.context_tokens[index] for index in order)),
        array("q", (trace.generated_tokens[index] for index in order)),
        array("l", (trace.sources[index] for index in order)),
        trace.source_numbers,
        first_us if has_wall_clock else None,
        trace.late_count,
    )
