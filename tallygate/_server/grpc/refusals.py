"""Refusals of a gate, told to whoever counts them for the audit log."""

from collections.abc import Callable
from typing import Final

import grpc

from tallygate._access.refusals import RefusalCounts, RefusedCalls
from tallygate._access.scope import scope_of_resource
from tallygate._server.clock import Clock
from tallygate._server.grpc.caller import peer_address
from tallygate._server.grpc.gate import Refused
from tallygate._server.grpc.request_json import LENGTH_MAX, request_json, without_secrets

NAME_MAX: Final = 256
"""Maximum number of characters of a name, or of a caller's word for itself, that nobody has checked."""
UNPROVED_LENGTH_MAX: Final = 512
"""Maximum number of characters of a request that are written down of callers who proved nothing."""

_MEMBER_PREFIX: Final = "serviceAccount:"
"""Prefix of the name of a service account where a call names it as a member."""
_COUNTED: Final = frozenset(
    {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND}
)


def counting(counts: RefusalCounts, clock: Clock) -> Callable[[Refused], None]:
    """An `on_refused` of a gate that counts. What a request lacks, and what could not be found out, is no refusal."""

    def note(refused: Refused) -> None:
        if refused.failure.code not in _COUNTED:
            return
        caller, request = refused.caller, refused.request
        calls = RefusedCalls(
            first_us=clock.now_us(),
            principal=caller.member,
            peer=peer_address(refused.peer),
            method=refused.method,
            reason=refused.failure.reason,
            resource=_shown(refused.resource),
            account_id=_known_account(refused),
            access_token=caller.access_token,
            note=_shown(refused.note),
        )
        length_max = LENGTH_MAX if caller.member else UNPROVED_LENGTH_MAX
        counts.note(calls, lambda: "" if request is None else request_json(request, length_max))

    return note


def _known_account(refused: Refused) -> str:
    account_id = scope_of_resource(refused.resource.removeprefix(_MEMBER_PREFIX)).account_id
    return account_id if refused.caller.rights.knows(account_id) else ""


def _shown(text: str) -> str:
    """A text that nobody has checked: short, no token in it, and nothing that a database or a terminal cannot take."""
    short = without_secrets(text[:NAME_MAX])
    return "".join(character if character.isprintable() else "?" for character in short)
