"""Calls that change something, from the wire to the use case and back."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from control_service.api.fields import Fields
from control_service.domain.account import Account
from control_service.usecases.idempotent_call import Act, Call, IdempotentCalls
from control_service.usecases.ports import Transaction

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Result = TypeVar("Result")

ACTOR_METADATA_KEY: Final = "tallygate-actor"
ACTOR_DEFAULT: Final = "user"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request with an `idempotency_key`, and the context that it came in."""

    request: Any
    context: Context

    def as_call(self) -> Call:
        """The call: its method, key, hash of arguments and actor. Raises InvalidRequestError."""
        given = {str(key): value for key, value in self.context.invocation_metadata() or ()}
        actor = given.get(ACTOR_METADATA_KEY, ACTOR_DEFAULT)
        with Fields() as fields:
            key = fields.text("idempotency_key", self.request.idempotency_key)
            actor = fields.required_text(f"metadata {ACTOR_METADATA_KEY}", str(actor))
        arguments = self.request.SerializeToString(deterministic=True)
        return Call(
            method=type(self.request).DESCRIPTOR.name.removesuffix("Request"),
            idempotency_key=key,
            request_hash=hashlib.sha256(arguments).digest(),
            actor=actor,
        )


class Calls:
    """Runs changes for servicers, and returns the serialised response, the same for every repeat of a call."""

    def __init__(self, idempotent_calls: IdempotentCalls) -> None:
        self._idempotent_calls = idempotent_calls

    async def of_account(
        self,
        incoming: Incoming,
        account_id: str,
        change: Callable[[Transaction, Account, Act], Awaitable[Result]],
        encode: Callable[[Result], Message],
    ) -> bytes:
        """Changes something of one account, once. Raises what the change and `IdempotentCalls.of_account` raise."""
        return await self._idempotent_calls.of_account(account_id, incoming.as_call(), change, _serialised(encode))

    async def of_globals(
        self,
        incoming: Incoming,
        change: Callable[[Transaction, Act], Awaitable[Result]],
        encode: Callable[[Result], Message],
    ) -> bytes:
        """Changes what belongs to no account, once. Raises what the change and `IdempotentCalls.of_globals` raise."""
        return await self._idempotent_calls.of_globals(incoming.as_call(), change, _serialised(encode))


def _serialised(encode: Callable[[Result], Message]) -> Callable[[Result], bytes]:
    return lambda result: encode(result).SerializeToString(deterministic=True)
