"""The catalogue: models and what they offer."""

from dataclasses import dataclass, replace
from typing import Final

WHOLE_OUTPUT_TOKENS_DEFAULT: Final = 4_096
"""Number of output tokens held for an answer that comes as a whole and names no limit, where a model says nothing."""


@dataclass(frozen=True, slots=True)
class TrialOffer:
    """The terms of a free trial; `valid_for_us` is None for one without end."""

    quota_tokens: int
    valid_for_us: int | None = None


@dataclass(frozen=True, slots=True)
class ReservationPrice:
    """The price of 1,000 tokens per minute for one day, by class."""

    input_nanos_per_thousand_tpm_day: int
    output_nanos_per_thousand_tpm_day: int


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the catalogue.

    `config_version` is that of the last change that nodes must know. `next_due_us` is when the next price takes effect
    that was not announced to them, or since when its services are to follow a change of it. `output_tokens_max` is the
    most that one answer can have, 0 where not known; `whole_output_tokens_default` is held for an answer that comes as
    a whole and names no limit. `retire_us` is None while it is in use.
    """

    model_id: str
    uid: str
    display_name: str
    currency_code: str
    smallest_request_tokens: int
    create_us: int
    update_us: int
    aliases: tuple[str, ...] = ()
    trial_offer: TrialOffer | None = None
    reservation_price: ReservationPrice | None = None
    output_tokens_max: int = 0
    whole_output_tokens_default: int = WHOLE_OUTPUT_TOKENS_DEFAULT
    price_count: int = 0
    config_version: int = 0
    next_due_us: int | None = None
    retire_us: int | None = None

    @property
    def retired(self) -> bool:
        """Whether nothing is begun on it any more."""
        return self.retire_us is not None

    def due_by(self, due_us: int) -> "Model":
        """The model with what waits for it due at this moment, or before."""
        return replace(self, next_due_us=due_us if self.next_due_us is None else min(self.next_due_us, due_us))
