"""The figures of one source: the columns of a reconciliation."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of a run, or of a service so far; None where a source does not have it.

    Payers come by token class: the tokens that a payer gave to input and to output.
    """

    requests: int | None = None
    bookings: int | None = None
    """Number of bookings: one for a request, and one more each time that it went on at another node."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    reserved_input_tokens: int | None = None
    reserved_output_tokens: int | None = None
    reserved_tokens: int | None = None
    trial_tokens: int | None = None
    billed_tokens: int | None = None
    unfunded_tokens: int | None = None
    overrun_tokens: int | None = None
    cost_nanos: int | None = None

    def less(self, before: Figures) -> Figures:
        """The figures added since `before`; both have the same columns."""
        changes = {
            name: mine - (getattr(before, name) or 0) for name in NAMES if (mine := getattr(self, name)) is not None
        }
        return replace(self, **changes)


NAMES: tuple[str, ...] = tuple(field.name for field in fields(Figures))
