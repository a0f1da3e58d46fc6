"""Askers from the call that is served, and calls that change something in a scope."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from control_service.api.calls import Calls, Incoming
from control_service.domain.asker import Asker
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Transaction
from tallygate._access.scope import Scope
from tallygate._server.grpc.caller import current_caller

Result = TypeVar("Result")


def current_asker() -> Asker:
    """Whoever makes the call that this task serves."""
    caller = current_caller()
    token_id = caller.access_token.rpartition("/")[2]
    return Asker(caller.member, caller.groups, caller.rights, token_id, caller.own_only)


async def change_with_secret(
    run: Callable[[Callable[[Result], Message]], Awaitable[bytes]], encode: Callable[[Result], tuple[Message, str]]
) -> tuple[bytes, str]:
    """Runs a change that makes a secret, with an encoder of its answer.

    `encode` gives the answer without the secret, which is kept for repeats, and the secret.

    Returns:
        That answer, and the secret that this call has made; none where it is a repeat.
    """
    made: list[str] = []

    def encode_without_secret(result: Result) -> Message:
        answer, secret = encode(result)
        made.append(secret)
        return answer

    response = await run(encode_without_secret)
    return response, made[0] if made else ""


async def change_in_scope(
    calls: Calls,
    incoming: Incoming,
    scope: Scope,
    change: Callable[[Transaction, Act], Awaitable[Result]],
    encode: Callable[[Result], Message],
) -> bytes:
    """Changes something of an account, which is locked then, or of the platform, once.

    Raises:
        ResourceNotFoundError: there is no such account; and what the change raises.
    """
    if not scope.account_id:
        return await calls.of_globals(incoming, change, encode)
    return await calls.of_account(incoming, scope.account_id, lambda tx, _, act: change(tx, act), encode)
