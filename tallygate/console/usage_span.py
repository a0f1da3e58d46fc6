"""Spans of usage that people choose: how far back, in which steps, and what they are compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from tallygate.console.forms import FieldError

MINUTE_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
STEPS: Final = (
    (MINUTE_S, "a minute"),
    (5 * MINUTE_S, "5 minutes"),
    (HOUR_S, "an hour"),
    (6 * HOUR_S, "6 hours"),
    (DAY_S, "a day"),
)
"""Lengths of steps, in seconds, and what people call them."""
LENGTHS: Final = {"1h": HOUR_S, "24h": DAY_S, "7d": 7 * DAY_S, "30d": 30 * DAY_S}
"""Lengths of spans that end now, in seconds."""
SPANS: Final = (
    ("1h", "Last hour"),
    ("24h", "Last 24 hours"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
    ("month", "This month"),
    ("last-month", "Last month"),
    ("custom", "From and until"),
)
"""Spans by their names in addresses, and what people call them."""
SPAN_DEFAULT: Final = "24h"
FEW_STEPS: Final = 62
"""Number of steps that a span has at most where nobody chose their length."""
STEPS_MAX: Final = 744
"""Maximum number of steps on a page: those of a month by the hour."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span in seconds since 1970, start closed, end open.

    `before_s`: the start of the span before, which ends where this one starts. `goes_on`: whether now is in it.
    """

    start_s: int
    end_s: int
    step_s: int
    before_s: int
    goes_on: bool

    @property
    def step_count(self) -> int:
        """Number of its steps, the last of which may be shorter."""
        return -(-(self.end_s - self.start_s) // self.step_s)


def halves(span: Span) -> tuple[Span, Span]:
    """The two parts of a span of several steps, cut between two of them."""
    middle_s = span.start_s + span.step_count // 2 * span.step_s
    return replace(span, end_s=middle_s), replace(span, start_s=middle_s)


def span_of(name: str, step: str, since: str, until: str, now_s: int) -> Span:
    """The span that was chosen. Raises FieldError where one field cannot be meant so."""
    step_s = _step(step)
    if name in LENGTHS:
        length_s = LENGTHS[name]
        step_s = step_s or _fitting(length_s)
        end_s = -(-now_s // step_s) * step_s
        start_s, before_s = end_s - length_s, end_s - 2 * length_s
    elif name == "custom":
        start_s, end_s = _moment("since", since), _moment("until", until)
        if end_s <= start_s:
            raise FieldError("until", "That is not after where it begins.")
        before_s = 2 * start_s - end_s
    else:
        first = _month_of(now_s)
        if name != "month":
            first = _month_before(first)
        start_s, before_s = int(first.timestamp()), int(_month_before(first).timestamp())
        following = int(_month_of(start_s + 32 * DAY_S).timestamp())
        end_s = min(following, max(-(-now_s // DAY_S) * DAY_S, start_s + DAY_S))
    return _checked(Span(start_s, end_s, step_s or _fitting(end_s - start_s), before_s, goes_on=end_s >= now_s))


def _checked(span: Span) -> Span:
    if span.step_count <= STEPS_MAX:
        return span
    raise FieldError(
        "step", f"That makes {span.step_count:,} steps, and a page has at most {STEPS_MAX}: choose longer ones."
    )


def _step(text: str) -> int:
    """The chosen length of a step; 0 where none was chosen."""
    if not text:
        return 0
    if text not in {str(step_s) for step_s, _ in STEPS}:
        raise FieldError("step", "There is no such step.")
    return int(text)


def _fitting(length_s: int) -> int:
    return next((step_s for step_s, _ in STEPS if length_s <= step_s * FEW_STEPS), DAY_S)


def _moment(field: str, text: str) -> int:
    """What a browser's field for date and time has, which is taken as UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise FieldError(field, "Write a day and a time, such as 2026-11-01T00:00.") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) // MINUTE_S * MINUTE_S


def _month_of(now_s: int) -> datetime:
    return datetime.fromtimestamp(now_s, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _month_before(first: datetime) -> datetime:
    return (first - timedelta(days=1)).replace(day=1)
