"""Figures: medians over interleaved rounds with their spread, next to a ceiling from the same rounds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any, Self

from benchmarks.job import Result


@dataclass(slots=True)
class Figure:
    """`samples` and `ceiling` are from the same rounds, in order. `at_least`, `aim`: of the ratio of the two.

    `requests_each`: whole requests that one of its unit counts for; 0 where it says nothing about requests.
    """

    case: str
    name: str
    unit: str
    samples: list[float]
    ceiling: list[float] = field(default_factory=list)
    at_least: float | None = None
    aim: float | None = None
    notes: list[str] = field(default_factory=list)
    details: list[Result] = field(default_factory=list)
    counts: bool = True
    lower_is_better: bool = False
    requests_each: float = 0.0

    @property
    def value(self) -> float:
        """The median."""
        return median(self.samples)

    @property
    def spread(self) -> float:
        """From the smallest to the largest, as a share of the median."""
        return (max(self.samples) - min(self.samples)) / abs(self.value) if self.value else 0.0

    @property
    def ratio(self) -> float | None:
        """To the ceiling: the median of the rounds' own ratios, which hold where absolute figures drift."""
        if not self.ceiling:
            return None
        return median(own / top if top else 0.0 for own, top in zip(self.samples, self.ceiling, strict=True))

    @property
    def reached(self) -> bool | None:
        """Whether it counts and the least that was asked for is reached; None where nothing was."""
        if self.at_least is None:
            return None
        measured = self.value if self.ratio is None else self.ratio
        return self.counts and (measured <= self.at_least if self.lower_is_better else measured >= self.at_least)

    def invalid(self, why: str) -> None:
        """It does not count."""
        self.counts = False
        self.notes.append(why)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """What `as_json` made. What follows from the rest is left out of it."""
        details = [Result(**each) for each in told["details"]]
        known = {each.name for each in fields(cls)} & told.keys() - {"details"}
        return cls(**{name: told[name] for name in known}, details=details)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "case": self.case,
            "name": self.name,
            "unit": self.unit,
            "value": self.value,
            "spread": self.spread,
            "samples": self.samples,
            "ceiling": self.ceiling,
            "ratio": self.ratio,
            "at_least": self.at_least,
            "aim": self.aim,
            "reached": self.reached,
            "counts": self.counts,
            "lower_is_better": self.lower_is_better,
            "requests_each": self.requests_each,
            "notes": self.notes,
            "details": [asdict(result) for result in self.details],
        }
