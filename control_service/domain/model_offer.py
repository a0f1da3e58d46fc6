"""Offers: what a model offers one account as of one moment, and how far the account has taken it up."""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from control_service.domain.account import Account
from control_service.domain.model import Model
from control_service.domain.price import Price, price_in_force
from control_service.domain.service import ServiceView
from control_service.domain.status import BillingMode

COMING_PRICES_MAX: Final = 10
"""Maximum number of coming prices that an offer has."""


class TrialState(enum.StrEnum):
    """Where an account's free trial of a model is."""

    NOT_OFFERED = "NOT_OFFERED"
    CLAIMABLE = "CLAIMABLE"
    USABLE = "USABLE"
    OVER = "OVER"


@dataclass(frozen=True, slots=True)
class ModelOffer:
    """A model with its prices in force and coming, and the id of the account's service that has its free trial.

    `in_use`: the account is open and the model not retired, so that something may be begun.
    """

    model: Model
    price: Price | None
    coming_prices: tuple[Price, ...]
    trial_service_id: str | None
    in_use: bool

    @property
    def trial_claimable(self) -> bool:
        """Whether a service of the account may claim the trial."""
        return self.in_use and self.model.trial_offer is not None and self.trial_service_id is None


def model_offer(
    account: Account, model: Model, prices: Sequence[Price], trial_service_id: str | None, now_us: int
) -> ModelOffer:
    """The offer to the account as of this moment; `prices` are all versions of the model."""
    in_use = not (account.closed or model.retired)
    return ModelOffer(model, price_in_force(prices, now_us), _coming(prices, now_us), trial_service_id, in_use)


def trial_state(offer: ModelOffer, trial_service: ServiceView | None) -> TrialState:
    """Where the trial is; `trial_service` is the service that has claimed it, None if none has."""
    if trial_service is not None:
        usable = BillingMode.FREE_TRIAL in trial_service.derived.billing_modes
        return TrialState.USABLE if usable else TrialState.OVER
    return TrialState.CLAIMABLE if offer.trial_claimable else TrialState.NOT_OFFERED


def _coming(prices: Iterable[Price], now_us: int) -> tuple[Price, ...]:
    coming = [price for price in prices if price.effective_us > now_us]
    return tuple(sorted(coming, key=lambda price: (price.effective_us, price.version))[:COMING_PRICES_MAX])
