"""The outcome of a replay, for programs; `tallygate.cli.replay_display` shows it to people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tallygate.replay.figures import Figures
from tallygate.replay.reconcile import Difference, Source
from tallygate.replay.tally import Tally


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a replay. `unrest` lists, as sentences, what had not come to rest or did not balance."""

    tally: Tally
    sources: tuple[Source, ...]
    differences: tuple[Difference, ...]
    unrest: tuple[str, ...]
    wall_ns: int

    @property
    def reconciled(self) -> bool:
        """Whether every source agrees and everything is at rest."""
        return not self.differences and not self.unrest and not self.tally.refused_finishes

    @property
    def records(self) -> Figures:
        """The figures of the request records, which are what counts."""
        return next(source.figures for source in self.sources if source.name == "records")

    def as_json(self) -> dict[str, Any]:
        """One object for programs; integers as integers."""
        tally = self.tally
        recorded = self.records
        recorded_input, recorded_output = recorded.input_tokens or 0, recorded.output_tokens or 0
        found: dict[str, Any] = {
            "requests": tally.requests,
            "allowed": tally.allowed,
            "denied": tally.denied,
            "denials": dict(tally.denials),
            "stops": dict(tally.stops),
            "cut_short": tally.cut_short,
            "tokens": {"input": tally.sent.input, "output": tally.sent.output, "total": tally.sent.total},
            "recorded": {
                "input": recorded_input,
                "output": recorded_output,
                "total": recorded_input + recorded_output,
            },
            "payers": {
                "reserved": recorded.reserved_tokens,
                "trial": recorded.trial_tokens,
                "billed": recorded.billed_tokens,
                "unfunded": recorded.unfunded_tokens,
            },
            "overrun_tokens": recorded.overrun_tokens,
            "cost_nanos": recorded.cost_nanos,
            "reports": tally.reports,
            "breaks": tally.disconnects,
            "wall_seconds": round(self.wall_ns / 1_000_000_000, 3),
            "reconciled": self.reconciled,
        }
        if not self.reconciled:
            found["differences"] = [asdict(difference) for difference in self.differences]
            found["unrest"] = [*self.unrest, *(f"finish refused: {reason}" for reason in tally.refused_finishes)]
        return found
