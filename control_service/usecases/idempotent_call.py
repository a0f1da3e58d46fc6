"""One call that changes something: one transaction that is done once, however often the call is repeated."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from control_service.domain.account import Account
from control_service.domain.actor import Actor, CallSource
from control_service.domain.audit_entry import AuditEntry, AuditOutcome, account_of
from control_service.domain.errors import IdempotencyKeyReusedError
from control_service.domain.event import EventCause, Origin
from control_service.domain.pot import PotKey
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.money_recall import MoneyOnLeaseError, recall_money
from control_service.usecases.ports import Database, ResponseKey, StoredResponse, Transaction
from tallygate._server.clock import Clock

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Call:
    """A call as received: its method, the hash of its arguments, who makes it. An empty key does not prevent repeats.

    `method` is `package.Service/Method`; `request_json` is what was asked, without secrets, for the audit log.
    """

    method: str
    idempotency_key: str
    request_hash: bytes
    source: CallSource = field(default_factory=CallSource)
    request_json: str = ""


@dataclass(frozen=True, slots=True)
class EncodedResponse:
    """A response as it is answered and kept, and the name of the resource that the call named, or made."""

    content: bytes
    resource: str = ""


@dataclass(slots=True)
class Act:
    """The circumstances of a change: its time, its actor, new ids. It collects the pots that got something back.

    `may_recall`: whether the change may ask, by a MoneyOnLeaseError, for money to be recalled before it is decided on.
    """

    now_us: int
    actor: Actor
    new_id: Callable[[], str]
    came_back: set[PotKey] = field(default_factory=set)
    may_recall: bool = False

    def because(self, cause: EventCause) -> Origin:
        """The origin of a change with this cause."""
        return Origin(cause, self.actor, self.now_us)


class IdempotentCalls:
    """Runs changes once. Each gets a transaction with its lock held, in which its encoded response is stored as well.

    The same transaction has the change's entry in the audit log. A repeat that is answered from what is stored makes no
    second entry, and a change that fails makes none.
    """

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
        encode: Callable[[Result], EncodedResponse],
    ) -> bytes:
        """Changes something of one account, which is locked. Keys are the caller's own in this account.

        A change that depends on money that is on lease is tried once more when that was recalled.

        Raises:
            ResourceNotFoundError: there is no such account.
            IdempotencyKeyReusedError: the key came with other arguments before.
        """
        try:
            return await self._of_account(account_id, call, change, encode, may_recall=True)
        except MoneyOnLeaseError as error:
            await recall_money(self._database, self._clock, self._signal, account_id, error.missing_nanos)
        return await self._of_account(account_id, call, change, encode, may_recall=False)

    async def _of_account(
        self,
        account_id: str,
        call: Call,
        change: Callable[[Transaction, Account, Act], Awaitable[Result]],
        encode: Callable[[Result], EncodedResponse],
        *,
        may_recall: bool,
    ) -> bytes:
        async with self._database.writing() as tx:
            account = await tx.accounts.lock(account_id)
            act = self._act(call)
            act.may_recall = may_recall

            async def changed() -> bytes:
                response = encode(await change(tx, account, act))
                await tx.audit.add(entry_of_change(call, act, response.resource, account_id))
                return response.content

            response = await _once(tx, account_id, call, act.now_us, changed)
        self._signal.announce(act.came_back)
        return response

    async def of_globals(
        self,
        call: Call,
        change: Callable[[Transaction, Act], Awaitable[Result]],
        encode: Callable[[Result], EncodedResponse],
    ) -> bytes:
        """Changes something that belongs to no account. Keys are the caller's own.

        Raises:
            IdempotencyKeyReusedError: the key came with other arguments before.
        """
        async with self._database.writing() as tx:
            await tx.lock_globals()
            act = self._act(call)

            async def changed() -> bytes:
                response = encode(await change(tx, act))
                await tx.audit.add(entry_of_change(call, act, response.resource, account_of(response.resource)))
                return response.content

            response = await _once(tx, "", call, act.now_us, changed)
        self._signal.announce(act.came_back)
        return response

    def _act(self, call: Call) -> Act:
        return Act(now_us=self._clock.now_us(), actor=call.source.actor, new_id=self._new_id)


async def _once(tx: Transaction, scope: str, call: Call, now_us: int, change: Callable[[], Awaitable[bytes]]) -> bytes:
    """The response that is kept under the call's key; if there is none, that of the change, which is then kept."""
    if not call.idempotency_key:
        return await change()
    key = ResponseKey(scope, call.source.principal, call.method.rpartition("/")[2], call.idempotency_key)
    known = await tx.responses.find(key)
    if known is not None:
        if known.request_hash != call.request_hash:
            raise IdempotencyKeyReusedError
        return known.response
    response = await change()
    await tx.responses.keep(key, StoredResponse(call.request_hash, response), now_us)
    return response


def entry_of_change(call: Call, act: Act, resource: str = "", account_id: str = "") -> AuditEntry:
    """The entry of what a call has changed."""
    return AuditEntry(
        entry_id=act.new_id(),
        event_us=act.now_us,
        outcome=AuditOutcome.CHANGED,
        method=call.method,
        source=call.source,
        resource=resource,
        account_id=account_id,
        request_json=call.request_json,
    )
