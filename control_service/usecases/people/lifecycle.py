"""Changes to services as people request them: the service is found, changed, and shown as it is then."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from control_service.domain.account import Account
from control_service.domain.reservation import Reservation, ReservationTerms
from control_service.domain.service import Service, ServiceView
from control_service.usecases.idempotent_call import Act
from control_service.usecases.people.reservations import Quote, cancel, purchase, quote
from control_service.usecases.people.services import NewService, create_service, living_service, open_service
from control_service.usecases.people.switches import enable_postpaid
from control_service.usecases.people.trial_claim import claim_trial
from control_service.usecases.ports import Transaction
from control_service.usecases.service_status import view

Step: TypeAlias = Callable[[Transaction, Account, Service, Act], Awaitable[Service]]
"""One change of one service."""


@dataclass(frozen=True, slots=True)
class InitialBilling:
    """The billing that a new service begins with."""

    claim_free_trial: bool = False
    enable_postpaid: bool = False
    reservation: ReservationTerms | None = None


@dataclass(frozen=True, slots=True)
class PurchaseView:
    """A purchased reservation, the service after it, and whether the purchase switched pay-as-you-go on."""

    reservation: Reservation
    service: ServiceView
    postpaid_enabled: bool


async def change_service(tx: Transaction, account: Account, service_id: str, step: Step, act: Act) -> ServiceView:
    """Applies one step to a service. Raises what the step and `open_service` raise."""
    service = await open_service(tx, account, service_id, act)
    return await view(tx, account, await step(tx, account, service, act), act.now_us)


async def create_with_billing(
    tx: Transaction, account: Account, new: NewService, billing: InitialBilling, act: Act
) -> ServiceView:
    """Creates a custom service with its first billing settings. Raises what the single steps raise."""
    service = await create_service(tx, account, new, act)
    if billing.claim_free_trial:
        service = await claim_trial(tx, account, service, act)
    if billing.enable_postpaid:
        service = await enable_postpaid(tx, account, service, act)
    if billing.reservation is not None:
        bought = await purchase(tx, account, service, billing.reservation, act)
        account, service = bought.account, bought.service
    return await view(tx, account, service, act.now_us)


async def purchase_reservation(
    tx: Transaction, account: Account, service_id: str, terms: ReservationTerms, act: Act
) -> PurchaseView:
    """Buys a reservation. Raises what `purchase` and `open_service` raise."""
    service = await open_service(tx, account, service_id, act)
    bought = await purchase(tx, account, service, terms, act)
    shown = await view(tx, bought.account, bought.service, act.now_us)
    return PurchaseView(bought.reservation, shown, bought.postpaid_enabled)


async def quote_reservation(
    tx: Transaction, account_id: str, service_id: str, terms: ReservationTerms, now_us: int
) -> tuple[Quote, Account]:
    """What a reservation would come to, and the account. Raises what `quote` and `living_service` raise."""
    account = await tx.accounts.get(account_id)
    return await quote(tx, account, await living_service(tx, account, service_id), terms, now_us), account


async def cancel_reservation(tx: Transaction, account: Account, service_id: str, number: int, act: Act) -> Reservation:
    """Ends a reservation early. Raises what `cancel` and `open_service` raise."""
    service = await open_service(tx, account, service_id, act)
    return await cancel(tx, account, service, number, act)
