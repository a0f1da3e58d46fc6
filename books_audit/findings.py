"""Findings: what an audit says of books that do not add up."""

from dataclasses import asdict, dataclass
from enum import StrEnum

Figures = dict[str, int | str]


class Rule(StrEnum):
    """Which promise is broken; docs/doctor.md has a row for each."""

    LEDGER = "LEDGER"
    LEASED = "LEASED"
    SPENT = "SPENT"
    RATE = "RATE"
    STATUS = "STATUS"
    AGGREGATES = "AGGREGATES"
    SETTLEMENT = "SETTLEMENT"
    USAGE = "USAGE"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not add up. `subject`: a resource or a lease; `problem`: a sentence with the figures."""

    rule: Rule
    subject: str
    problem: str

    def as_figures(self) -> Figures:
        """For the line that is written of it."""
        return asdict(self)
