"""Calls that change something, from the wire to the use case and back."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from control_service.api.fields import Fields
from control_service.domain.account import Account
from control_service.domain.actor import CallSource
from control_service.usecases.idempotent_call import Act, Call, EncodedResponse, IdempotentCalls
from control_service.usecases.ports import Transaction
from tallygate._server.grpc.caller import NOTE_KEY, current_caller, note_of, peer_address
from tallygate._server.grpc.request_json import request_json

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request that changes something, and the context that it came in."""

    request: Any
    context: Context

    def as_call(self) -> Call:
        """The call: its method, key, hash of arguments and who makes it. Raises InvalidRequestError."""
        with Fields() as fields:
            key = fields.text("idempotency_key", getattr(self.request, "idempotency_key", ""))
            source = source_of(fields, self.context)
        arguments = self.request.SerializeToString(deterministic=True)
        return Call(
            method=_method(type(self.request).DESCRIPTOR),
            idempotency_key=key,
            request_hash=hashlib.sha256(arguments).digest(),
            source=source,
            request_json=request_json(self.request),
        )


def source_of(fields: Fields, context: Context) -> CallSource:
    """Who makes this call, and from where; notes in `fields` what is wrong with the caller's word for itself."""
    caller, note = current_caller(), note_of(context)
    if note is not None:
        fields.required_text(f"metadata {NOTE_KEY}", note)
    return CallSource(caller.member, caller.access_token, note or "", peer_address(context.peer()))


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
        encoded = _encoded(incoming.request, encode)
        return await self._idempotent_calls.of_account(account_id, incoming.as_call(), change, encoded)

    async def of_globals(
        self,
        incoming: Incoming,
        change: Callable[[Transaction, Act], Awaitable[Result]],
        encode: Callable[[Result], Message],
    ) -> bytes:
        """Changes what belongs to no account, once. Raises what the change and `IdempotentCalls.of_globals` raise."""
        encoded = _encoded(incoming.request, encode)
        return await self._idempotent_calls.of_globals(incoming.as_call(), change, encoded)


@cache
def _method(request: Descriptor) -> str:
    """`package.Service/Method` of the one method that takes this request."""
    return next(
        f"{service.full_name}/{method.name}"
        for service in request.file.services_by_name.values()
        for method in service.methods
        if method.input_type is request
    )


def _encoded(request: Any, encode: Callable[[Result], Message]) -> Callable[[Result], EncodedResponse]:
    def encoded(result: Result) -> EncodedResponse:
        response = encode(result)
        return EncodedResponse(response.SerializeToString(deterministic=True), _resource(request, response))

    return encoded


def _resource(request: Any, response: Any) -> str:
    """The name that the request has, or else of the first resource in its response, or else what it is about."""
    made = (
        getattr(response, field.name).name
        for field in response.DESCRIPTOR.fields
        if field.message_type is not None and "name" in field.message_type.fields_by_name and not field.is_repeated
    )
    about = (getattr(request, name, "") for name in ("member", "webhook", "account"))
    return next(filter(None, (getattr(request, "name", ""), *made, *about)), "")
