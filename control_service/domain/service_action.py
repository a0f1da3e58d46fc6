"""Actions: what people may do about a service as it is now, and what would make it run again."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from control_service.domain.model_offer import ModelOffer
from control_service.domain.service import ServiceKind, ServiceView
from control_service.domain.status import PostpaidState, Status, StopReason


class ServiceAction(enum.StrEnum):
    """What is done by one RPC, in the order in which actions are listed."""

    CLAIM_FREE_TRIAL = "CLAIM_FREE_TRIAL"
    ENABLE_POSTPAID = "ENABLE_POSTPAID"
    DISABLE_POSTPAID = "DISABLE_POSTPAID"
    PURCHASE_RESERVATION = "PURCHASE_RESERVATION"
    CANCEL_RESERVATION = "CANCEL_RESERVATION"
    SUSPEND = "SUSPEND"
    RESUME = "RESUME"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    TOP_UP_ACCOUNT = "TOP_UP_ACCOUNT"
    PUBLISH_PRICE = "PUBLISH_PRICE"
    RESTORE_MODEL = "RESTORE_MODEL"
    REOPEN_ACCOUNT = "REOPEN_ACCOUNT"


Actions = tuple[ServiceAction, ...]

_PAYS_AGAIN: Final = (ServiceAction.ENABLE_POSTPAID, ServiceAction.PURCHASE_RESERVATION)
_REMEDIES: Final[Mapping[StopReason, Actions]] = {
    StopReason.POSTPAID_DISABLED: (ServiceAction.ENABLE_POSTPAID,),
    StopReason.TRIAL_EXHAUSTED: _PAYS_AGAIN,
    StopReason.TRIAL_EXPIRED: _PAYS_AGAIN,
    StopReason.RESERVATION_ENDED: _PAYS_AGAIN,
    StopReason.ACCOUNT_OVERDUE: (ServiceAction.TOP_UP_ACCOUNT,),
    StopReason.SUSPENDED: (ServiceAction.RESUME,),
    StopReason.NO_PRICE: (ServiceAction.PUBLISH_PRICE,),
    StopReason.MODEL_RETIRED: (ServiceAction.RESTORE_MODEL,),
    StopReason.ACCOUNT_CLOSED: (ServiceAction.REOPEN_ACCOUNT,),
}
"""Actions that clear a stop reason, the usual one first."""
_STARTS: Final = (ServiceAction.CLAIM_FREE_TRIAL, *_PAYS_AGAIN)
"""Actions that start a service which nobody has started."""


@dataclass(frozen=True)
class OfferedService:
    """A service as of one moment, and what its model offers its account then."""

    view: ServiceView
    offer: ModelOffer

    @property
    def possible_actions(self) -> Actions:
        """What makes sense as the service is, whoever may do it."""
        if self.view.service.deleted:
            return ()
        return tuple(action for action, is_possible in self._possible.items() if is_possible)

    @property
    def remedies(self) -> dict[StopReason | None, Actions]:
        """What would clear each stop reason, in their order; under None what starts a service that nobody started."""
        if self.view.service.deleted:
            return {}
        derived = self.view.derived
        found: dict[StopReason | None, Actions] = {
            reason: self._of(_REMEDIES[reason]) for reason in StopReason if reason in derived.stop_reasons
        }
        return found if derived.status is not Status.NOT_ENABLED else found | {None: self._of(_STARTS)}

    @cached_property
    def _possible(self) -> Mapping[ServiceAction, bool]:
        """Of each action, in their order."""
        service, reserved, model = self.view.service, self.view.reserved, self.offer.model
        custom = service.kind is ServiceKind.CUSTOM
        enabled = service.postpaid is PostpaidState.ENABLED
        priced = self.offer.price is not None
        return {
            ServiceAction.CLAIM_FREE_TRIAL: self.offer.trial_claimable,
            ServiceAction.ENABLE_POSTPAID: not enabled and priced and self._can_be_paid_for,
            ServiceAction.DISABLE_POSTPAID: enabled,
            ServiceAction.PURCHASE_RESERVATION: custom
            and model.reservation_price is not None
            and self._can_be_paid_for,
            ServiceAction.CANCEL_RESERVATION: reserved.active,
            ServiceAction.SUSPEND: not service.suspended,
            ServiceAction.RESUME: service.suspended,
            ServiceAction.UPDATE: True,
            ServiceAction.DELETE: custom and not reserved.active,
            ServiceAction.TOP_UP_ACCOUNT: StopReason.ACCOUNT_OVERDUE in self.view.derived.stop_reasons,
            ServiceAction.PUBLISH_PRICE: not priced,
            ServiceAction.RESTORE_MODEL: model.retired,
            ServiceAction.REOPEN_ACCOUNT: self.view.account.closed,
        }

    @property
    def _can_be_paid_for(self) -> bool:
        """Whether the account may begin to pay for the model: it is in use, and priced in the account's currency."""
        return self.offer.in_use and self.view.account.currency_code == self.offer.model.currency_code

    def _of(self, remedies: Actions) -> Actions:
        """Those that are possible. Where pay-as-you-go lacks only a price, its publication comes first."""
        steps = (
            ServiceAction.PUBLISH_PRICE
            if action is ServiceAction.ENABLE_POSTPAID
            and self._can_be_paid_for
            and self._possible[ServiceAction.PUBLISH_PRICE]
            else action
            for action in remedies
        )
        return tuple(action for action in steps if self._possible[action])
