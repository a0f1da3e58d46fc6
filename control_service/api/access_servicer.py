"""AccessService."""

from collections.abc import Callable, Collection
from typing import Final

from google.protobuf.message import Message
from typing_extensions import override

from control_service.api import access_codec as codec
from control_service.api.asking import change_in_scope, current_asker
from control_service.api.calls import Calls, Context, Incoming
from control_service.api.fields import Fields
from control_service.api.paging import decode_page
from control_service.domain.binding import Binding
from control_service.domain.member import service_account_of
from control_service.domain.names import parse_service_account
from control_service.domain.principal import Principal
from control_service.usecases.access.bindings import create_binding, delete_binding
from control_service.usecases.access.principals import require_may_disable, set_disabled
from control_service.usecases.access_ports import ScopedKey, ScopeFilter
from control_service.usecases.ports import Database
from tallygate._access.permission import Permission
from tallygate._access.scope import PLATFORM
from tallygate._server.grpc.caller import current_caller
from tallygate._server.grpc.paging import encode_page
from tallygate.control.v1 import access_service_pb2 as pb
from tallygate.control.v1 import access_service_pb2_grpc

FIRST: Final = ("", "", "")
"""Key before that of everything which lies in a scope."""


class AccessServicer(access_service_pb2_grpc.AccessServiceServicer):
    """Bindings, and the principals that have them."""

    def __init__(self, database: Database, calls: Calls, issuers: Collection[str] | None = None) -> None:
        """`issuers`: at which people may sign in; None where that is not known."""
        self._database = database
        self._calls = calls
        self._issuers = issuers

    @override
    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Context) -> pb.WhoAmIResponse:
        return codec.encode_caller(current_caller())

    @override
    async def CreateBinding(self, request: pb.CreateBindingRequest, context: Context) -> pb.CreateBindingResponse:
        with Fields() as fields:
            grant = codec.decode_grant(fields, request)
        asker = current_asker()
        response = await change_in_scope(
            self._calls,
            Incoming(request, context),
            grant.scope,
            lambda tx, act: create_binding(tx, grant, asker, act),
            lambda binding: pb.CreateBindingResponse(binding=codec.encode_binding(binding)),
        )
        return pb.CreateBindingResponse.FromString(response)

    @override
    async def DeleteBinding(self, request: pb.DeleteBindingRequest, context: Context) -> pb.DeleteBindingResponse:
        with Fields() as fields:
            scope, binding_id = fields.binding("name", request.name)
        asker = current_asker()
        response = await change_in_scope(
            self._calls,
            Incoming(request, context),
            scope,
            lambda tx, _: delete_binding(tx, scope, binding_id, asker),
            lambda binding: pb.DeleteBindingResponse(binding=codec.encode_binding(binding)),
        )
        return pb.DeleteBindingResponse.FromString(response)

    @override
    async def ListBindings(self, request: pb.ListBindingsRequest, context: Context) -> pb.ListBindingsResponse:
        with Fields() as fields:
            scope = fields.scope("scope", request.scope) if request.scope else PLATFORM
            member = fields.principal("member", request.member) if request.member else ""
            after, limit = decode_page(fields, request, FIRST)
        wanted = ScopeFilter(scope, current_caller().rights.sight(Permission.BINDINGS_READ))
        async with self._database.reading() as tx:
            bindings = await tx.bindings.page(wanted, member, after, limit + 1)
        page, token = encode_page(request, bindings, limit, codec.encode_binding, _key)
        return pb.ListBindingsResponse(bindings=page, next_page_token=token)

    @override
    async def ListPrincipals(self, request: pb.ListPrincipalsRequest, context: Context) -> pb.ListPrincipalsResponse:
        with Fields() as fields:
            (after,), limit = decode_page(fields, request, ("",))
        async with self._database.reading() as tx:
            found = await tx.principals.page(after, limit + 1, disabled_only=request.show_disabled_only)
        page, token = encode_page(request, found, limit, codec.encode_principal, lambda principal: (principal.member,))
        return pb.ListPrincipalsResponse(principals=page, next_page_token=token)

    @override
    async def DisablePrincipal(
        self, request: pb.DisablePrincipalRequest, context: Context
    ) -> pb.DisablePrincipalResponse:
        response = await self._set_disabled(
            Incoming(request, context),
            lambda principal: pb.DisablePrincipalResponse(principal=codec.encode_principal(principal)),
            disabled=True,
        )
        return pb.DisablePrincipalResponse.FromString(response)

    @override
    async def EnablePrincipal(self, request: pb.EnablePrincipalRequest, context: Context) -> pb.EnablePrincipalResponse:
        response = await self._set_disabled(
            Incoming(request, context),
            lambda principal: pb.EnablePrincipalResponse(principal=codec.encode_principal(principal)),
            disabled=False,
        )
        return pb.EnablePrincipalResponse.FromString(response)

    async def _set_disabled(
        self, incoming: Incoming, encode: Callable[[Principal], Message], *, disabled: bool
    ) -> bytes:
        with Fields() as fields:
            member = codec.decode_principal(fields, incoming.request.member)
        asker = current_asker()
        require_may_disable(member, asker)
        name = service_account_of(member)
        scope = parse_service_account(name)[0] if name else PLATFORM
        return await change_in_scope(
            self._calls,
            incoming,
            scope,
            lambda tx, act: set_disabled(tx, member, asker, act, disabled=disabled, issuers=self._issuers),
            encode,
        )


def _key(binding: Binding) -> ScopedKey:
    scope = binding.grant.scope
    return scope.account_id, scope.team_id, binding.binding_id
