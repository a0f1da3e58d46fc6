"""Charts as SVG, made here: no script draws them, and each says in words what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

_SPARK_HEIGHT: Final = 24
_SPARK_STEP: Final = 5
_SPARK_BAR: Final = 4


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


GLOBALS: Final[Mapping[str, Callable[..., Any]]] = {"bar": bar, "sparkline": sparkline}
"""Charts by their names in templates."""
