"""The gate in front of every RPC: who calls, and whether the contract's rule lets that caller in.

The gate decides from the request's names and the caller's rights, before anything is read; only where a caller's
rights are those of a team is the team of the named service looked up.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import grpc

from tallygate._access.permission import Permission
from tallygate._access.rights import NO_RIGHTS, TeamAdmission
from tallygate._access.scope import PLATFORM, Scope, scope_of_resource
from tallygate._access.token_text import ShownToken, read_token
from tallygate._server.grpc.access_rules import MethodRule
from tallygate._server.grpc.caller import UNCHECKED, Caller, Context, Presented, note_of
from tallygate._server.grpc.failures import RpcStatusError
from tallygate._wire.names import ACCOUNT_ID, API_KEY_ID, SERVICE_ID
from tallygate.access.v1 import access_rule_pb2

NOBODY: Final = Caller(rights=NO_RIGHTS)
"""The caller of what everybody may call, at a server that asks for proof elsewhere."""

PLATFORM_NAMES: Final = frozenset({"platform", "bindings", "serviceAccounts", "accessTokens"})
"""First parts of the names of what is in no account."""

_NAMES: Final = ("name", "member", "model")
_OF_TEAM: Final = re.compile(f"accounts/{ACCOUNT_ID}/(?:services/({SERVICE_ID})(?:/|\\Z)|keys/({API_KEY_ID})\\Z)")


class Authenticator(Protocol):
    """Knows callers by what they present. A right proof always passes; what wrong ones cost is bounded."""

    async def by_token(self, token: ShownToken, peer: str) -> Caller:
        """The caller whose token this is. Raises RpcStatusError: UNAUTHENTICATED, or UNAVAILABLE: could not tell."""

    async def by_certificate(self, uris: tuple[str, ...], peer: str) -> Caller:
        """The caller to whom a verified certificate with these URIs belongs. Raises RpcStatusError likewise."""


class TeamLookup(Protocol):
    """Knows which team a service or an API key belongs to."""

    async def team_of(self, account_id: str, service_id: str) -> str:
        """The id of the service's team; empty where it has none, or where there is no such service."""

    async def team_of_key(self, account_id: str, key_id: str) -> str:
        """The id of the API key's team, likewise."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that was refused, for the audit log. `request` is None where a stream was refused.

    `resource`: what the request names, empty where it names nothing; `note`: what the caller said of itself.
    """

    caller: Caller
    peer: str
    method: str
    failure: RpcStatusError
    request: Any | None
    resource: str = ""
    note: str = ""


class Gate:
    """Lets callers in. Without an authenticator everybody may do everything."""

    def __init__(
        self,
        authenticator: Authenticator | None = None,
        teams: TeamLookup | None = None,
        on_refused: Callable[[Refused], None] = lambda _: None,
    ) -> None:
        """`teams`: of a server whose contract has rules on single services; `on_refused` is told of each refusal."""
        self._authenticator = authenticator
        self._teams = teams
        self._on_refused = on_refused

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything."""
        return self._authenticator is None

    async def admit(self, rule: MethodRule | None, request: Any | None, context: Context) -> Caller:
        """The caller, who may make this call.

        Args:
            rule: of the method; None where the contract has none, and nobody is let in.
            request: the message; None of a stream, and of what could not be read: then only who calls is asked.
            context: the call.

        Raises:
            RpcStatusError: UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND or INVALID_ARGUMENT; or UNAVAILABLE where it
                could not be found out who calls.
        """
        if self._authenticator is None:
            return UNCHECKED
        if rule is None:
            raise _denied(None, PLATFORM)
        if rule.audience == access_rule_pb2.AUDIENCE_ANYONE:
            return NOBODY
        presented, caller = Presented(context), NOBODY
        try:
            caller = await _authenticate(self._authenticator, presented)
            if rule.audience == access_rule_pb2.AUDIENCE_AUTHENTICATED:
                return caller
            return await self._permit(rule, request, caller)
        except RpcStatusError as failure:
            self.tell(failure, rule, request, context, caller)
            raise

    def tell(
        self, failure: RpcStatusError, rule: MethodRule, request: Any | None, context: Context, caller: Caller
    ) -> None:
        """Tells of a call that was refused, here or by the servicer."""
        resource = "" if request is None else next(iter((*rule.names(request), *_named(request))), "")
        note = note_of(context) or ""
        self._on_refused(Refused(caller, context.peer(), rule.method, failure, request, resource, note))

    async def _permit(self, rule: MethodRule, request: Any | None, caller: Caller) -> Caller:
        if rule.permission is None:
            raise _denied(None, PLATFORM)
        names = rule.names(request) if request is not None else ()
        if (rule.method, names) in caller.permitted:
            return caller
        judged = _Judged(rule, rule.permission, caller, request)
        if names:
            for name in names:
                judged.permit(await self._scope(judged, name))
        elif rule.scope_required and request is not None:
            raise _invalid(rule.scope_path, "must be set")
        else:
            judged.permit(PLATFORM)
        if not judged.own_only and judged.admission is None:
            if names and rule.by_names_only:
                caller.note_permitted(rule.method, names)
            return caller
        return replace(caller, own_only=judged.own_only, admission=judged.admission)

    async def _scope(self, judged: "_Judged", name: str) -> Scope:
        """The scope of what is named; a team's within it, where the caller's rights are a team's."""
        rule, rights = judged.rule, judged.caller.rights
        scope = _scope(rule.scope_path, name, may_be_model=rule.model_permission is not None)
        if scope.account_id and not rights.knows(scope.account_id):
            raise _not_found(name)
        if rule.narrowed or scope.team_id or rights.allows(judged.permission, scope):
            return scope
        if rule.creates:
            return Scope(scope.account_id, rule.team_id(judged.request) or "")
        service_id, key_id = _of_team(name)
        if self._teams is None or not rights.allows_within(judged.permission, scope):
            return scope
        if key_id:  # A key stays in its team for good.
            return Scope(scope.account_id, await self._teams.team_of_key(scope.account_id, key_id))
        if not service_id:
            return scope
        team = Scope(scope.account_id, await self._teams.team_of(scope.account_id, service_id))
        judged.admission = TeamAdmission(judged.permission, team)
        return team


@dataclass(slots=True)
class _Judged:
    """A call that is judged, scope by scope."""

    rule: MethodRule
    permission: Permission
    caller: Caller
    request: Any | None
    own_only: bool = False
    admission: TeamAdmission | None = None

    def permit(self, scope: Scope) -> None:
        """Raises RpcStatusError unless the caller may do on this scope what the call asks for."""
        rule, rights = self.rule, self.caller.rights
        allows = rights.allows_within if rule.narrowed else rights.allows
        permission = rule.needs(scope) or self.permission
        if not allows(permission, scope):
            if not rule.own:
                raise _denied(permission, scope)
            self.own_only = True
        if self.request is None:
            return
        for field in rule.fields:
            needed_on = Scope(scope.account_id) if field.on_account else scope
            if field.is_set(self.request) and not rights.allows(field.permission, needed_on):
                raise _denied(field.permission, needed_on, field.path)
        team_id = rule.team_id(self.request)
        if team_id is not None and not rights.allows(self.permission, Scope(scope.account_id, team_id)):
            raise _denied(self.permission, Scope(scope.account_id, team_id))


def _named(request: Any) -> Iterator[str]:
    """Names by which a request says what it is about, where the scope does not say it."""
    fields = request.DESCRIPTOR.fields_by_name
    return filter(None, (getattr(request, name) for name in _NAMES if name in fields))


async def _authenticate(authenticator: Authenticator, presented: Presented) -> Caller:
    """With a token the token alone decides, and a bad one fails whatever the certificate: rights never add up."""
    if presented.bearer is not None:
        token = read_token(presented.bearer)
        if token is None:
            raise unauthenticated("CREDENTIAL_INVALID", "This is no access token of Tallygate; check what was copied.")
        return await authenticator.by_token(token, presented.peer)
    uris = presented.certificate_uris
    if uris:
        return await authenticator.by_certificate(uris, presented.peer)
    raise unauthenticated(
        "CREDENTIAL_MISSING",
        "This call brought no credential; send the metadata `authorization: Bearer TOKEN`, or a client certificate.",
    )


def unauthenticated(reason: str, message: str) -> RpcStatusError:
    """The failure of a call whose caller has not proved who it is."""
    return RpcStatusError(code=grpc.StatusCode.UNAUTHENTICATED, reason=reason, message=message)


def _scope(path: str, name: str, *, may_be_model: bool = False) -> Scope:
    scope, first = scope_of_resource(name), name.partition("/")[0]
    if scope == PLATFORM and first not in PLATFORM_NAMES and not (may_be_model and first == "models"):
        raise _invalid(path, "is no resource name, such as accounts/{account}")
    return scope


def _of_team(name: str) -> tuple[str, str]:
    """The service's id in the names of a service and of what lies within it, the key's id in that of an API key."""
    match = _OF_TEAM.match(name)
    return (match[1] or "", match[2] or "") if match else ("", "")


def _denied(permission: Permission | None, scope: Scope, field: str = "") -> RpcStatusError:
    what = permission or "a permission that nobody has"
    return RpcStatusError(
        code=grpc.StatusCode.PERMISSION_DENIED,
        reason="PERMISSION_DENIED",
        message=f"{f'To set {field}' if field else 'This call'} needs the permission {what} on {scope.name}; "
        "ask who manages it for a role that has it.",
        metadata={"permission": str(permission or ""), "scope": scope.name},
    )


def _not_found(name: str) -> RpcStatusError:
    return RpcStatusError(
        code=grpc.StatusCode.NOT_FOUND,
        reason="RESOURCE_NOT_FOUND",
        message=f"There is no {name}; check the name.",
        metadata={"resource": name},
    )


def _invalid(path: str, what: str) -> RpcStatusError:
    return RpcStatusError(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        message=f"The request is not valid: {path}: {what}.",
        violations=[(path, what)],
    )
