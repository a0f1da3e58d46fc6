"""Charts of a what-if as SVG: cost over time, and who paid. Small templates; nothing is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import accumulate

from tallygate.cli.console import visible
from tallygate.cli.money import format_amount
from tallygate.whatif.outcome import Outcome

COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#4d7c0f", "#be185d")
PAYERS = {"reserved": "#0891b2", "trial": "#9333ea", "billed": "#d97706", "unfunded": "#dc2626"}
WIDTH, HEIGHT, LEFT, BAR = 860, 280, 150, 26
NAME_CHARS_MAX = 20
POINTS_MAX = 400
"""Maximum number of points in a line: what lies between two of them is less than what can be seen."""


def text_of(text: str) -> str:
    """A text of somebody else, as HTML and SVG have it."""
    return escape(visible(text))


def colour_of(index: int) -> str:
    """The colour of one of the settings."""
    return COLOURS[index % len(COLOURS)]


def cost_chart(outcomes: Sequence[Outcome]) -> str:
    """What tokens and reservations cost up to each minute, a line for each of the settings."""
    minutes = sorted({minute for outcome in outcomes for minute in outcome.minutes})
    most_nanos = max((outcome.total_nanos for outcome in outcomes), default=0)
    if not minutes or not most_nanos:
        return ""
    first, length = minutes[0], max(1, minutes[-1] - minutes[0])
    lines = []
    for index, outcome in enumerate(outcomes):
        points = [
            (LEFT + (minute - first) * (WIDTH - LEFT - 10) // length, HEIGHT - 20 - nanos * (HEIGHT - 40) // most_nanos)
            for minute, nanos in _costs(outcome, minutes)
        ]
        said = " ".join(f"{x},{y}" for x, y in points)
        title = text_of(f"{outcome.settings}: {format_amount(outcome.total_nanos, outcome.currency)}")
        lines.append(
            f'<polyline fill="none" stroke="{colour_of(index)}" stroke-width="2" points="{said}">'
            f"<title>{title}</title></polyline>"
        )
    return _svg(HEIGHT, "Cost over time", [*_axis(most_nanos, outcomes[0].currency), *lines])


def payers_chart(outcomes: Sequence[Outcome]) -> str:
    """Who paid for how many tokens, a bar for each of the settings."""
    paid = [_payers(outcome) for outcome in outcomes]
    most = max((sum(payers.values()) for payers in paid), default=0)
    if not most:
        return ""
    parts = []
    for index, (outcome, payers) in enumerate(zip(outcomes, paid, strict=True)):
        top, left = 8 + index * (BAR + 10), LEFT
        name, short = text_of(outcome.settings), text_of(outcome.settings[:NAME_CHARS_MAX])
        parts.append(f'<text x="{LEFT - 8}" y="{top + 17}" text-anchor="end"><title>{name}</title>{short}</text>')
        for payer, tokens in payers.items():
            width = tokens * (WIDTH - LEFT - 10) // most
            parts.append(
                f'<rect x="{left}" y="{top}" width="{width}" height="{BAR}" fill="{PAYERS[payer]}">'
                f"<title>{payer}: {tokens:,} tokens</title></rect>"
            )
            left += width
    return _svg(16 + len(outcomes) * (BAR + 10), "Who paid for the tokens", parts)


def _costs(outcome: Outcome, minutes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cost up to some of the minutes; reservations are paid at the beginning."""
    reserved_nanos = sum(service.reservation_nanos for service in outcome.services.values())
    spent = (outcome.minutes[minute].cost_nanos if minute in outcome.minutes else 0 for minute in minutes)
    costs = list(accumulate(spent, initial=reserved_nanos))[1:]
    step = max(1, len(minutes) // POINTS_MAX)
    yield from zip(minutes[::step], costs[::step], strict=True)
    yield minutes[-1], costs[-1]


def _payers(outcome: Outcome) -> dict[str, int]:
    return {payer: sum(service.paid.by_payer[payer] for service in outcome.services.values()) for payer in PAYERS}


def _axis(most_nanos: int, currency: str) -> Iterator[str]:
    for quarter in range(5):
        y = HEIGHT - 20 - quarter * (HEIGHT - 40) // 4
        amount = text_of(format_amount(most_nanos * quarter // 4 // 10_000 * 10_000, currency))
        yield f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y}" y2="{y}" stroke="#e5e7eb"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{amount}</text>'


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{title}</title>{"".join(parts)}</svg>'
    )
