"""The control service's use cases as a person at a desk uses them, without the wire."""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from control_service.domain.account import Account, OverduePolicy
from control_service.domain.actor import CallSource
from control_service.domain.bucket import Bucket
from control_service.domain.event import ServiceEvent
from control_service.domain.ledger import LedgerEntryKind, Line
from control_service.domain.model import ReservationPrice, TrialOffer
from control_service.domain.names import default_service_id
from control_service.domain.pot import PotKind
from control_service.domain.price import Price
from control_service.domain.reservation import OverflowPolicy, Reservation, ReservationTerms
from control_service.domain.service import ServiceView
from control_service.domain.team import Team
from control_service.storage.database import SqlDatabase
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.idempotent_call import Act, Call, EncodedResponse, IdempotentCalls
from control_service.usecases.people.accounts import AccountUpdate, NewAccount, create_account, update_account
from control_service.usecases.people.catalogue import (
    ModelView,
    NewModel,
    NewPrice,
    create_model,
    publish_price,
    withdraw_price,
)
from control_service.usecases.people.closing import set_closed, set_retired
from control_service.usecases.people.lifecycle import (
    InitialBilling,
    PurchaseView,
    Step,
    cancel_reservation,
    change_service,
    create_with_billing,
    purchase_reservation,
)
from control_service.usecases.people.payments import BookedLine, pay
from control_service.usecases.people.services import NewService, get_service
from control_service.usecases.people.switches import disable_postpaid, enable_postpaid, set_suspended
from control_service.usecases.people.teams import NewTeam, create_team
from control_service.usecases.people.trial_claim import claim_trial
from control_service.usecases.ports import Transaction
from tallygate._server.clock import ManualClock

Result = TypeVar("Result")

TRIAL = TrialOffer(quota_tokens=1_000, valid_for_us=60_000_000)
RESERVED = ReservationTerms(1_000, 100, 1, OverflowPolicy.REFUSE)
RESERVED_NANOS = 1_100


class Desk:
    """Does things to the account `acme` and the services of the model `llama`, on a clock that stands still."""

    def __init__(self, database: SqlDatabase, clock: ManualClock | None = None) -> None:
        self.database = database
        self.clock = clock if clock is not None else ManualClock()
        self.signal = ChangeSignal()
        numbers = itertools.count(1)
        self.idempotent_calls = IdempotentCalls(
            database, self.clock, lambda: f"00000000-0000-0000-0000-{next(numbers):012}", self.signal
        )

    @property
    def now_us(self) -> int:
        return self.clock.now_us()

    async def of_account(
        self,
        change: Callable[[Transaction, Account, Act], Awaitable[Result]],
        *,
        actor: str = "user",
        account_id: str = "acme",
    ) -> Result:
        results: list[Result] = []
        await self.idempotent_calls.of_account(
            account_id, Call("Method", "", b"", CallSource(note=actor)), change, _keep_in(results)
        )
        return results[0]

    async def of_globals(self, change: Callable[[Transaction, Act], Awaitable[Result]]) -> Result:
        results: list[Result] = []
        await self.idempotent_calls.of_globals(Call("Method", "", b""), change, _keep_in(results))
        return results[0]

    async def create_account(self, account_id: str = "acme", currency: str = "USD") -> Account:
        new = NewAccount(account_id, "", currency, 0, 10, OverduePolicy.STOP_ALL)
        return await self.of_globals(lambda tx, act: create_account(tx, new, act))

    async def create_model(self, model_id: str = "llama", currency: str = "USD") -> ModelView:
        new = NewModel(model_id, "", (), currency, TRIAL, ReservationPrice(1_000, 1_000), 16)
        return await self.of_globals(lambda tx, act: create_model(tx, new, act))

    async def publish_price(self, effective_us: int | None = None, model_id: str = "llama") -> None:
        await self.of_globals(lambda tx, act: publish_price(tx, model_id, NewPrice(effective_us, 1, 1, 1, 1, 1), act))

    async def withdraw_price(self, version: int, model_id: str = "llama") -> Price:
        return await self.of_globals(lambda tx, act: withdraw_price(tx, model_id, version, act))

    async def retire(self, model_id: str = "llama", *, retired: bool = True) -> ModelView:
        return await self.of_globals(lambda tx, act: set_retired(tx, model_id, act, retired=retired))

    async def close_account(self, *, closed: bool = True) -> Account:
        return await self.of_account(lambda tx, account, act: set_closed(tx, account, act, closed=closed))

    async def pay(self, amount_nanos: int) -> BookedLine:
        kind = LedgerEntryKind.TOP_UP if amount_nanos > 0 else LedgerEntryKind.ADJUSTMENT
        return await self.of_account(lambda tx, account, act: pay(tx, account, Line(kind, amount_nanos, "why"), act))

    async def update_account(
        self, *, credit: int | None = None, floor: int | None = None, policy: OverduePolicy | None = None
    ) -> Account:
        update = AccountUpdate(None, credit, floor, policy)
        return await self.of_account(lambda tx, account, act: update_account(tx, account, update, act))

    async def create_team(self, team_id: str) -> Team:
        new = NewTeam(team_id, "")
        return await self.of_account(lambda tx, account, act: create_team(tx, account, new, act))

    async def create(
        self,
        service_id: str = "chat",
        billing: InitialBilling | None = None,
        team: str = "",
        account_id: str = "acme",
    ) -> ServiceView:
        new = NewService(service_id, "llama", "", team, {})
        wanted = billing or InitialBilling()
        return await self.of_account(
            lambda tx, account, act: create_with_billing(tx, account, new, wanted, act), account_id=account_id
        )

    async def change(self, step: Step, service_id: str = "chat", *, actor: str = "user") -> ServiceView:
        return await self.of_account(
            lambda tx, account, act: change_service(tx, account, service_id, step, act), actor=actor
        )

    async def claim(self, service_id: str = "chat") -> ServiceView:
        return await self.change(claim_trial, service_id)

    async def enable(self, service_id: str = "chat") -> ServiceView:
        return await self.change(enable_postpaid, service_id)

    async def disable(self, service_id: str = "chat") -> ServiceView:
        return await self.change(disable_postpaid, service_id)

    async def suspend(self, service_id: str = "chat", *, suspended: bool = True) -> ServiceView:
        return await self.change(
            lambda tx, account, service, act: set_suspended(tx, account, service, act, suspended=suspended), service_id
        )

    async def buy(self, terms: ReservationTerms = RESERVED, service_id: str = "chat") -> PurchaseView:
        return await self.of_account(lambda tx, account, act: purchase_reservation(tx, account, service_id, terms, act))

    async def cancel(self, number: int, service_id: str = "chat") -> Reservation:
        return await self.of_account(lambda tx, account, act: cancel_reservation(tx, account, service_id, number, act))

    async def fleet_knows(self, service_id: str = "chat") -> None:
        """As the fleet's acknowledgement does, for what is in this test about something else."""
        async with self.database.writing() as tx:
            await tx.accounts.lock("acme")
            service = await tx.services.find("acme", service_id)
            assert service is not None
            await tx.services.save(
                replace(service, fleet_told=True, told_status=(await self.show(service_id)).derived.status)
            )

    async def show(self, service_id: str = "chat") -> ServiceView:
        async with self.database.reading() as tx:
            return await get_service(tx, "acme", service_id, self.now_us)

    async def account(self) -> Account:
        async with self.database.reading() as tx:
            return await tx.accounts.get("acme")

    async def events(self, service_id: str = "chat") -> list[ServiceEvent]:
        async with self.database.reading() as tx:
            return await tx.events.page("acme", service_id, 0, 100)

    async def version(self) -> int:
        async with self.database.reading() as tx:
            return await tx.config_version()

    async def bucket(self, kind: PotKind, service_id: str = "chat") -> Bucket:
        async with self.database.reading() as tx:
            service = await tx.services.find("acme", service_id)
            assert service is not None
            bucket = await tx.buckets.find("acme", service.uid, kind)
            assert bucket is not None
            return bucket.refilled(self.now_us)


DEFAULT = default_service_id("llama")


def _keep_in(results: list[Result]) -> Callable[[Result], EncodedResponse]:
    def encode(result: Result) -> EncodedResponse:
        results.append(result)
        return EncodedResponse(b"")

    return encode
