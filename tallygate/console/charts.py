"""Charts as SVG, made here: no script draws them, and each says in words what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from tallygate.console.show import SCALES

_SPARK_HEIGHT: Final = 24
_SPARK_STEP: Final = 5
_SPARK_BAR: Final = 4
_WIDTH: Final = 720
_HEIGHT: Final = 160
_LEFT: Final = 72
_TOP: Final = 18
_LABELS_MAX: Final = 6
_TOPS: Final = (0, 4, 8, 12, 16, 20, 24, 32, 40, 60, 80, 100)
"""Ends of scales, up to tens of them."""


def sparkline(values: Sequence[int], said: str) -> Markup:
    """Small bars, one for each value. `said`: what they show, for whoever does not see them."""
    highest = max(values, default=0)
    bars = Markup().join(
        Markup('<rect x="{}" y="{}" width="{}" height="{}"/>').format(
            index * _SPARK_STEP, _SPARK_HEIGHT - height, _SPARK_BAR, height
        )
        for index, value in enumerate(values)
        if (height := -(-value * _SPARK_HEIGHT // highest) if highest else 0)
    )
    width = max(1, len(values) * _SPARK_STEP)
    return Markup('<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, _SPARK_HEIGHT, said, bars
    )


def bar(part: int, whole: int, said: str, kind: str = "") -> Markup:
    """How much of a whole there is; something, however little, is seen. `kind`: a class for its colour."""
    filled = min(1000, -(-part * 1000 // whole)) if whole > 0 and part > 0 else 0
    return Markup(
        '<svg class="bar {}" viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="whole" width="1000" height="10"/><rect class="part" width="{}" height="10"/></svg>'
    ).format(kind, said, filled)


class Series(NamedTuple):
    """Values of one kind. `kind`: the end of a class `fill-...` for its colour."""

    name: str
    kind: str
    values: Sequence[int]


def stacked(series: Sequence[Series], labels: Sequence[str], said: str) -> Markup:
    """Bars of several kinds on top of each other, one for each label, with what each has in its title."""
    totals = [sum(values) for values in zip(*(one.values for one in series), strict=True)]
    highest = _round_top(max(totals, default=0))
    step = _WIDTH / max(1, len(labels))
    shapes = [_grid_line(highest, quarter) for quarter in range(5)]
    for index, label in enumerate(labels):
        below = 0
        for one in series:
            value = one.values[index]
            if value:
                top = _HEIGHT * (highest - below - value) // highest
                height = max(1, _HEIGHT * value // highest)
                shapes.append(_block(one, index, label, (_LEFT + index * step, top + _TOP, step * 0.85, height)))
            below += value
    for index in range(0, len(labels), max(1, len(labels) // _LABELS_MAX)):
        x = _LEFT + index * step
        shapes.append(Markup('<text x="{:.1f}" y="{}">{}</text>').format(x, _TOP + _HEIGHT + 16, labels[index]))
    size = (_LEFT + _WIDTH, _TOP + _HEIGHT + 22)
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(*size, said)
    return head + Markup().join(shapes) + Markup("</svg>")


def legend(series: Sequence[Series]) -> Markup:
    """Which colour stands for what, with the sum of each."""
    items = Markup().join(
        Markup(
            '<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="fill-{}" width="10" height="10"/></svg>'
            "{} {:,}</li>"
        ).format(one.kind, one.name, sum(one.values))
        for one in series
    )
    return Markup('<ul class="legend">{}</ul>').format(items)


def _round_top(highest: int) -> int:
    """The end of a scale: the least round number whose quarters are whole."""
    scale: int = 10 ** max(0, len(str(highest)) - 2)
    return next(top * scale for top in _TOPS if top * scale >= highest)


def _short(count: int) -> str:
    """A round number in as few letters as can be: 1.5M; a screen may be narrow."""
    scale, letter = next(((scale, letter) for scale, letter in SCALES if count >= scale), (1, ""))
    return f"{count / scale:g}{letter}"


def _grid_line(highest: int, quarter: int) -> Markup:
    y = _TOP + _HEIGHT - _HEIGHT * quarter // 4
    line = Markup('<line class="grid-line" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, _LEFT + _WIDTH, y, y)
    text = Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
        _LEFT - 6, y + 4, _short(highest * quarter // 4)
    )
    return line + text if highest or quarter == 0 else line


def _block(one: Series, index: int, label: str, box: tuple[float, int, float, int]) -> Markup:
    """One value: a rectangle (left, top, width, height)."""
    return Markup(
        '<rect class="fill-{}" x="{:.1f}" y="{}" width="{:.1f}" height="{}"><title>{}: {} {:,}</title></rect>'
    ).format(one.kind, *box, label, one.name, one.values[index])


GLOBALS: Final[Mapping[str, Callable[..., Any]]] = {
    "bar": bar,
    "legend": legend,
    "sparkline": sparkline,
    "stacked": stacked,
}
"""Charts by their names in templates."""
