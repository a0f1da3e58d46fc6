"""Reconciliation: the figures of all sources of a run, compared. Pure: the sources are read elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallygate.replay.figures import NAMES, Figures


@dataclass(frozen=True, slots=True)
class Source:
    """A source of figures, with a name for people."""

    name: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure in which a source disagrees with those before it."""

    source: str
    figure: str
    expected: int
    actual: int


def differences(sources: Sequence[Source]) -> list[Difference]:
    """Everything in which a source disagrees with the first one that has the figure.

    The order of the sources is that of trust: what the servers sent comes first, the ledger last.
    """
    found: list[Difference] = []
    for name in NAMES:
        expected: int | None = None
        for source in sources:
            actual = getattr(source.figures, name)
            if expected is None:
                expected = actual
            elif actual is not None and actual != expected:
                found.append(Difference(source.name, name, expected, actual))
    return found
