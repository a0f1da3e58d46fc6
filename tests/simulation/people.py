"""Operators and users: accounts, services, prices, money, as the control service's own use cases have them."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from control_service.domain.account import Account, OverduePolicy
from control_service.domain.actor import CallSource
from control_service.domain.errors import ControlError, Reason, RefusedError, StorageUnavailableError
from control_service.domain.ledger import LedgerEntryKind, Line
from control_service.domain.model import ReservationPrice, TrialOffer
from control_service.domain.reservation import OverflowPolicy, ReservationTerms
from control_service.domain.service import OutagePolicy
from control_service.usecases.idempotent_call import Act, Call, EncodedResponse
from control_service.usecases.people.accounts import NewAccount, create_account
from control_service.usecases.people.catalogue import NewModel, NewPrice, create_model, publish_price
from control_service.usecases.people.lifecycle import (
    InitialBilling,
    cancel_reservation,
    change_service,
    create_with_billing,
    purchase_reservation,
)
from control_service.usecases.people.payments import pay
from control_service.usecases.people.services import NewService, ServiceUpdate, update_service
from control_service.usecases.people.switches import disable_postpaid, enable_postpaid, set_suspended
from control_service.usecases.people.teams import NewTeam, create_team
from control_service.usecases.ports import Transaction

if TYPE_CHECKING:
    from tests.simulation.simulation_harness import World

Result = TypeVar("Result")
ACCOUNTS = ("acme", "beta")
TRIAL, PAID, RESERVED, ALL = "trial", "paid", "reserved", "all"
SERVICES = (("acme", TRIAL), ("acme", PAID), ("acme", RESERVED), ("beta", ALL))
STEADY = "beta", "steady"
"""People leave it as it is: it has postpaid alone, so it goes on without control, a little way."""
TEAMS = ("red", "green", "blue")
"""Teams of each account. Every service is in one of them at any time."""
DAY_US = 86_400_000_000
PLENTY = (1, 8, 8, 20)
"""In some seeds every pot runs out, in most of them most requests find what they need."""


class People:
    """What they do is done once, however often the answer is lost: with an idempotency key, at any replica."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.service_names: list[str] = []
        self.steady = f"accounts/{STEADY[0]}/services/{STEADY[1]}"
        """What it is told to do without control is never changed."""
        self.stopped: set[str] = set()
        """Services that have not served anybody since a denial that said it is of no use to ask again."""
        self.paid_nanos: Counter[str] = Counter()
        self.are_forgotten = False
        """What they did is not all on record any more: the control database was put back to an older copy."""
        self._plenty = 1
        """How many times as much as the least there is of everything."""
        self._prices = self._moves = 0
        self._reservations: dict[tuple[str, str], int] = {}
        self._deeds: list[tuple[str, Callable[[str, str], Awaitable[None]]]] = [
            ("price change", lambda _account_id, _service_id: self._price()),
            ("top-up", lambda account_id, _: self._pay(account_id, world.chance.integer(100, 8_000))),
            ("postpaid switch", self._switch),
            ("suspension", self._suspend),
            ("reservation bought", self._buy),
            ("reservation ended", lambda _account_id, _service_id: self._cancel()),
        ]

    async def found(self) -> None:
        """What is there at the beginning."""
        chance = self._world.chance
        self._plenty = 1 if self._world.storm else chance.pick(PLENTY)
        trial = TrialOffer(quota_tokens=chance.integer(16, 4_000) * self._plenty, valid_for_us=30 * DAY_US)
        model = NewModel("llama", "", (), "USD", trial, ReservationPrice(1_000, 1_000), 16)
        await self._globally(lambda tx, act: create_model(tx, model, act))
        await self._price()
        for account_id in ACCOUNTS:
            new = NewAccount(account_id, "", "USD", chance.pick((0, 0, 500)), 10, chance.pick(list(OverduePolicy)))
            await self._globally(lambda tx, act, new=new: create_account(tx, new, act))  # type: ignore[misc]
            await self._pay(account_id, chance.integer(8_000, 40_000))
        reserved = InitialBilling(reservation=self._terms(OverflowPolicy.REFUSE))
        both = InitialBilling(claim_free_trial=True, reservation=self._terms(OverflowPolicy.BILL_BY_TOKEN))
        billings = (InitialBilling(claim_free_trial=True), InitialBilling(enable_postpaid=True), reserved, both)
        for (account_id, service_id), billing in zip(SERVICES, billings, strict=True):
            await self._create(account_id, service_id, billing, chance.pick((0, 50, 300, 100_000)))
        await self._create(*STEADY, InitialBilling(enable_postpaid=True), chance.pick((300, 1_000)))

    async def trouble(self) -> None:
        """What they do all day. What they have begun they finish."""
        chance, note = self._world.chance, self._world.chance.note
        while not chance.calm:
            await asyncio.sleep(chance.uniform(0.8, 5.0))
            account_id, service_id = chance.pick(SERVICES)
            what, deed = chance.pick(self._deeds)
            if self._world.restoring and deed == self._buy:
                # With money that may be spent already: as they are told to, they wait for the recovery.
                continue
            try:
                await deed(account_id, service_id)
            except ControlError as error:
                self._world.note(f"{what} of {service_id}: {error.reason}")
                continue
            note(what)
            self._world.note(f"{what} of {account_id}/{service_id}")

    async def _create(self, account_id: str, service_id: str, billing: InitialBilling, outage_tokens: int) -> None:
        policy = OutagePolicy.CONTINUE if outage_tokens else OutagePolicy.DENY
        new = NewService(service_id, "llama", "", TEAMS[0], {}, policy, outage_tokens)

        async def create(tx: Transaction, account: Account, act: Act) -> Any:
            for team_id in TEAMS:
                if await tx.teams.find(account_id, team_id) is None:
                    await create_team(tx, account, NewTeam(team_id, ""), act)
            return await create_with_billing(tx, account, new, billing, act)

        while True:
            try:
                await self.of_account(account_id, create)
                break
            except RefusedError as error:
                # Its replica's clock is a little behind that of the one which has published the price.
                if error.reason is not Reason.NO_PRICE_IN_FORCE:
                    raise
                await asyncio.sleep(0.05)
        if billing.reservation is not None:
            self._reservations[account_id, service_id] = 1
        self.service_names.append(f"accounts/{account_id}/services/{service_id}")

    async def _price(self) -> None:
        chance = self._world.chance
        kinds = [chance.integer(0, 4_000_000) for _ in range(5)]
        self._prices += 1
        await self._globally(lambda tx, act: publish_price(tx, "llama", NewPrice(None, *kinds), act))

    async def _pay(self, account_id: str, least_nanos: int) -> None:
        nanos = least_nanos * self._plenty
        line = Line(LedgerEntryKind.TOP_UP, nanos, "simulated")
        await self.of_account(account_id, lambda tx, account, act: pay(tx, account, line, act))
        self.paid_nanos[account_id] += nanos

    async def _switch(self, account_id: str, service_id: str) -> None:
        step = self._world.chance.pick((enable_postpaid, disable_postpaid, enable_postpaid))
        await self.of_account(account_id, lambda tx, account, act: change_service(tx, account, service_id, step, act))
        if step is disable_postpaid and await self._repents():
            on = enable_postpaid
            await self.of_account(account_id, lambda tx, account, act: change_service(tx, account, service_id, on, act))

    async def _repents(self) -> bool:
        """Whether somebody wants it to be as before a little later, as they mostly do; never in a storm."""
        if self._world.storm or self._world.chance.once_in(3):
            return False
        await asyncio.sleep(self._world.chance.uniform(0.1, 3.0))
        return not self._world.restoring

    async def _suspend(self, account_id: str, service_id: str) -> None:
        async def step(tx: Transaction, account: Account, service: Any, act: Act, *, suspended: bool) -> Any:
            service = await set_suspended(tx, account, service, act, suspended=suspended)
            # With the suspension, which nodes have to hear of anyway: so no seed has another story for it.
            return await update_service(tx, service, ServiceUpdate(None, self._next_team(), None, None, 0), act)

        for suspended in (True, False):
            await self.of_account(
                account_id,
                lambda tx, account, act, suspended=suspended: change_service(  # type: ignore[misc]
                    tx, account, service_id, lambda *args: step(*args, suspended=suspended), act
                ),
            )
            await asyncio.sleep(self._world.chance.uniform(0.1, 3.0))

    async def _buy(self, account_id: str, service_id: str) -> None:
        terms = self._terms(OverflowPolicy.REFUSE)
        await self.of_account(
            account_id, lambda tx, account, act: purchase_reservation(tx, account, service_id, terms, act)
        )
        self._reservations[account_id, service_id] = self._reservations.get((account_id, service_id), 0) + 1

    async def _cancel(self) -> None:
        chance = self._world.chance
        account_id, service_id = chance.pick(list(self._reservations))
        number = chance.integer(1, self._reservations[account_id, service_id])
        await self.of_account(
            account_id, lambda tx, account, act: cancel_reservation(tx, account, service_id, number, act)
        )
        if await self._repents():
            await self._buy(account_id, service_id)

    def _next_team(self) -> str:
        """Where a service goes next."""
        self._moves += 1
        return TEAMS[self._moves % len(TEAMS)]

    def _terms(self, overflow: OverflowPolicy) -> ReservationTerms:
        chance = self._world.chance
        input_tokens = chance.integer(1, 3_000) * self._plenty
        return ReservationTerms(input_tokens, chance.integer(1, 3_000) * self._plenty, 1, overflow)

    async def of_account(
        self, account_id: str, change: Callable[[Transaction, Account, Act], Awaitable[Result]]
    ) -> Result | None:
        """Change something of an account, once, at any replica; what came of it."""
        results: list[Result] = []
        call = self._call("of-account")

        def encode(result: Result) -> EncodedResponse:
            results.append(result)
            return EncodedResponse(b"done")

        await self._insist(
            lambda replica: replica.assembly.idempotent_calls.of_account(account_id, call, change, encode)
        )
        return results[-1] if results else None

    async def _globally(self, change: Callable[[Transaction, Act], Awaitable[Any]]) -> None:
        call = self._call("globally")
        await self._insist(
            lambda replica: replica.assembly.idempotent_calls.of_globals(
                call, change, lambda _: EncodedResponse(b"done")
            )
        )

    async def _insist(self, deed: Callable[[Any], Awaitable[Any]]) -> None:
        """Until some replica has answered."""
        world = self._world
        while True:
            replica = world.some_control()
            if replica is not None and not replica.party.paused:
                done = world.loop.spawn(replica.party, _as_coroutine(deed(replica)))
                await asyncio.wait([done])
                if not done.cancelled() and not isinstance(done.exception(), StorageUnavailableError):
                    done.result()
                    if not world.chance.once_in(4):
                        return
                    # The answer was lost on its way: what was done is asked for again.
            await asyncio.sleep(world.chance.uniform(0.05, 0.5))

    def _call(self, method: str) -> Call:
        key = self._world.new_id()
        return Call(method, key, hashlib.sha256(key.encode()).digest(), CallSource(note="simulated"))


async def _as_coroutine(awaitable: Awaitable[Result]) -> Result:
    return await awaitable
