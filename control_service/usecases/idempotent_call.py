"""One call that changes something: one transaction that is done once, however often the call is repeated."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from control_service.domain.account import Account
from control_service.domain.budget import BudgetKey
from control_service.domain.errors import IdempotencyKeyReusedError
from control_service.domain.event import EventCause, Origin
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.ports import Database, StoredResponse, Transaction
from tallygate._server.clock import Clock

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Call:
    """A call as received: its method, the hash of its arguments, its actor. An empty key does not prevent repeats."""

    method: str
    idempotency_key: str
    request_hash: bytes
    actor: str


@dataclass(slots=True)
class Act:
    """The circumstances of a change: its time, its actor, new ids. It collects the budgets that got something back."""

    now_us: int
    actor: str
    new_id: Callable[[], str]
    came_back: set[BudgetKey] = field(default_factory=set)

    def because(self, cause: EventCause) -> Origin:
        """The origin of a change with this cause."""
        return Origin(cause, self.actor, self.now_us)


class IdempotentCalls:
    """Runs changes once. Each change gets a transaction with its lock held, and its encoded response is stored."""

    def __init__(self, database: Database, clock: Clock, new_id: Callable[[], str], signal: ChangeSignal) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._signal = signal

    async def of_account(
        self,
        account_id: str,
        call: Call,
        change: Callable[[Transaction, Account, Act], Awaitable[Result]],
        encode: Callable[[Result], bytes],
    ) -> bytes:
        """Changes something of one account, which is locked. Keys are the account's own.

        Raises:
            ResourceNotFoundError: there is no such account.
            IdempotencyKeyReusedError: the key came with other arguments before.
        """
        async with self._database.writing() as tx:
            account = await tx.accounts.lock(account_id)
            act = self._act(call)

            async def changed() -> bytes:
                return encode(await change(tx, account, act))

            response = await _once(tx, account_id, call, act.now_us, changed)
        self._signal.announce(act.came_back)
        return response

    async def of_globals(
        self,
        call: Call,
        change: Callable[[Transaction, Act], Awaitable[Result]],
        encode: Callable[[Result], bytes],
    ) -> bytes:
        """Changes something that belongs to no account.

        Raises:
            IdempotencyKeyReusedError: the key came with other arguments before.
        """
        async with self._database.writing() as tx:
            await tx.lock_globals()
            act = self._act(call)

            async def changed() -> bytes:
                return encode(await change(tx, act))

            response = await _once(tx, "", call, act.now_us, changed)
        self._signal.announce(act.came_back)
        return response

    def _act(self, call: Call) -> Act:
        return Act(now_us=self._clock.now_us(), actor=call.actor, new_id=self._new_id)


async def _once(tx: Transaction, scope: str, call: Call, now_us: int, change: Callable[[], Awaitable[bytes]]) -> bytes:
    """The response that is kept under the call's key; if there is none, that of the change, which is then kept."""
    if not call.idempotency_key:
        return await change()
    known = await tx.responses.find(scope, call.method, call.idempotency_key)
    if known is not None:
        if known.request_hash != call.request_hash:
            raise IdempotencyKeyReusedError
        return known.response
    response = await change()
    await tx.responses.keep(
        scope, call.method, call.idempotency_key, StoredResponse(call.request_hash, response), now_us
    )
    return response
