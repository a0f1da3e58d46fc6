"""TokenService."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from google.protobuf.message import Message
from typing_extensions import override

from control_service.api import token_codec as codec
from control_service.api.asking import change_in_scope, change_with_secret, current_asker
from control_service.api.calls import Calls, Context, Incoming
from control_service.api.fields import Fields
from control_service.api.paging import decode_page
from control_service.domain.access_token import AccessToken
from control_service.domain.errors import InvalidRequestError
from control_service.domain.sign_in import ID_TOKEN_BYTES_MAX
from control_service.usecases.access.exchange_token import ExchangeToken
from control_service.usecases.access.service_accounts import (
    NewServiceAccount,
    ServiceAccountView,
    create_service_account,
    delete_service_account,
    list_service_accounts,
)
from control_service.usecases.access.token_mint import TokenMint
from control_service.usecases.access.tokens import (
    ShownOnce,
    change_token,
    create_token,
    owner_of,
    require_own,
    rotate_token,
)
from control_service.usecases.access_ports import ScopedKey, ScopeFilter
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Database, Transaction
from tallygate._access.permission import Permission
from tallygate._access.scope import PLATFORM, scope_of_resource
from tallygate._server.clock import Clock
from tallygate._server.grpc.caller import current_caller
from tallygate._server.grpc.paging import encode_page
from tallygate.control.v1 import token_service_pb2 as pb
from tallygate.control.v1 import token_service_pb2_grpc

_FIRST: Final = ("", "", "")


class TokenServicer(token_service_pb2_grpc.TokenServiceServicer):
    """What callers prove themselves by. A secret is in the answer to the call that made it, and nowhere else."""

    def __init__(
        self, database: Database, clock: Clock, calls: Calls, mint: TokenMint, sign_ins: ExchangeToken
    ) -> None:
        self._database = database
        self._clock = clock
        self._calls = calls
        self._mint = mint
        self._sign_ins = sign_ins

    @override
    async def GetSignInOptions(
        self, request: pb.GetSignInOptionsRequest, context: Context
    ) -> pb.GetSignInOptionsResponse:
        return pb.GetSignInOptionsResponse(issuers=map(codec.encode_issuer, await self._sign_ins.options()))

    @override
    async def ExchangeToken(self, request: pb.ExchangeTokenRequest, context: Context) -> pb.ExchangeTokenResponse:
        if not request.id_token:
            raise InvalidRequestError([("id_token", "must be set")])
        if len(request.id_token.encode()) > ID_TOKEN_BYTES_MAX:
            raise InvalidRequestError([("id_token", f"must not have more than {ID_TOKEN_BYTES_MAX} bytes")])
        given = await self._sign_ins.exchange(request.id_token, Incoming(request, context).as_call())
        return pb.ExchangeTokenResponse(
            secret=given.minted.text, access_token=codec.encode_token(given.token), member=given.token.owner
        )

    @override
    async def CreateServiceAccount(
        self, request: pb.CreateServiceAccountRequest, context: Context
    ) -> pb.CreateServiceAccountResponse:
        with Fields() as fields:
            scope, service_account_id = fields.service_account("name", request.name)
            display_name = fields.text("display_name", request.display_name)
        new = NewServiceAccount(scope, service_account_id, display_name)
        asker = current_asker()
        response = await change_in_scope(
            self._calls,
            Incoming(request, context),
            scope,
            lambda tx, act: create_service_account(tx, new, asker, act),
            lambda made: pb.CreateServiceAccountResponse(service_account=codec.encode_service_account(made)),
        )
        return pb.CreateServiceAccountResponse.FromString(response)

    @override
    async def ListServiceAccounts(
        self, request: pb.ListServiceAccountsRequest, context: Context
    ) -> pb.ListServiceAccountsResponse:
        with Fields() as fields:
            scope = fields.scope("scope", request.scope) if request.scope else PLATFORM
            after, limit = decode_page(fields, request, _FIRST)
        wanted = ScopeFilter(scope, current_caller().rights.sight(Permission.SERVICE_ACCOUNTS_READ))
        async with self._database.reading() as tx:
            found = await list_service_accounts(tx, wanted, after, limit + 1)
        page, token = encode_page(request, found, limit, codec.encode_service_account, _key)
        return pb.ListServiceAccountsResponse(service_accounts=page, next_page_token=token)

    @override
    async def DeleteServiceAccount(
        self, request: pb.DeleteServiceAccountRequest, context: Context
    ) -> pb.DeleteServiceAccountResponse:
        with Fields() as fields:
            scope, service_account_id = fields.service_account("name", request.name)
        asker = current_asker()
        response = await change_in_scope(
            self._calls,
            Incoming(request, context),
            scope,
            lambda tx, act: delete_service_account(tx, scope, service_account_id, asker, act),
            lambda gone: pb.DeleteServiceAccountResponse(service_account=codec.encode_service_account(gone)),
        )
        return pb.DeleteServiceAccountResponse.FromString(response)

    @override
    async def CreateAccessToken(
        self, request: pb.CreateAccessTokenRequest, context: Context
    ) -> pb.CreateAccessTokenResponse:
        with Fields() as fields:
            new = codec.decode_new_token(fields, request)
        asker = current_asker()
        require_own(new.service_account, asker, Permission.SERVICE_ACCOUNTS_MANAGE)
        response, secret = await self._with_secret(
            Incoming(request, context),
            new.service_account,
            lambda tx, act: create_token(tx, new, self._mint, asker, act),
            pb.CreateAccessTokenResponse,
        )
        answer = pb.CreateAccessTokenResponse.FromString(response)
        if secret:
            answer.secret, answer.secret_lost = secret, False
        return answer

    @override
    async def ListAccessTokens(
        self, request: pb.ListAccessTokensRequest, context: Context
    ) -> pb.ListAccessTokensResponse:
        with Fields() as fields:
            if request.service_account:
                fields.service_account("service_account", request.service_account)
            (after,), limit = decode_page(fields, request, ("",))
        asker = current_asker()
        async with self._database.reading() as tx:
            owner = await owner_of(tx, request.service_account, asker, Permission.SERVICE_ACCOUNTS_READ)
            found = await tx.access_tokens.page(owner, after, limit + 1, self._clock.now_us())
        page, token = encode_page(request, found, limit, codec.encode_token, lambda one: (one.token_id,))
        return pb.ListAccessTokensResponse(access_tokens=page, next_page_token=token)

    @override
    async def RotateAccessToken(
        self, request: pb.RotateAccessTokenRequest, context: Context
    ) -> pb.RotateAccessTokenResponse:
        with Fields() as fields:
            rotation = codec.decode_rotation(fields, request)
        asker = current_asker()
        require_own(rotation.key.service_account, asker, Permission.SERVICE_ACCOUNTS_MANAGE)
        response, secret = await self._with_secret(
            Incoming(request, context),
            request.name,
            lambda tx, act: rotate_token(tx, rotation, self._mint, asker, act),
            pb.RotateAccessTokenResponse,
        )
        answer = pb.RotateAccessTokenResponse.FromString(response)
        if secret:
            answer.secret, answer.secret_lost = secret, False
        return answer

    @override
    async def DisableAccessToken(
        self, request: pb.DisableAccessTokenRequest, context: Context
    ) -> pb.DisableAccessTokenResponse:
        response = await self._change(
            Incoming(request, context),
            lambda token, _: replace(token, disabled=True),
            lambda token: pb.DisableAccessTokenResponse(access_token=codec.encode_token(token)),
        )
        return pb.DisableAccessTokenResponse.FromString(response)

    @override
    async def EnableAccessToken(
        self, request: pb.EnableAccessTokenRequest, context: Context
    ) -> pb.EnableAccessTokenResponse:
        response = await self._change(
            Incoming(request, context),
            lambda token, _: replace(token, disabled=False),
            lambda token: pb.EnableAccessTokenResponse(access_token=codec.encode_token(token)),
            opens_more=True,
        )
        return pb.EnableAccessTokenResponse.FromString(response)

    @override
    async def DeleteAccessToken(
        self, request: pb.DeleteAccessTokenRequest, context: Context
    ) -> pb.DeleteAccessTokenResponse:
        response = await self._change(
            Incoming(request, context),
            lambda token, act: replace(token, delete_us=act.now_us),
            lambda token: pb.DeleteAccessTokenResponse(access_token=codec.encode_token(token)),
        )
        return pb.DeleteAccessTokenResponse.FromString(response)

    async def _with_secret(
        self,
        incoming: Incoming,
        name: str,
        change: Callable[[Transaction, Act], Awaitable[ShownOnce]],
        response: Callable[..., Message],
    ) -> tuple[bytes, str]:
        def encode(shown: ShownOnce) -> tuple[Message, str]:
            return response(access_token=codec.encode_token(shown.token), secret_lost=True), shown.minted.text

        scope = scope_of_resource(name)
        return await change_with_secret(
            lambda encoded: change_in_scope(self._calls, incoming, scope, change, encoded), encode
        )

    async def _change(
        self,
        incoming: Incoming,
        change: Callable[[AccessToken, Act], AccessToken],
        encode: Callable[[AccessToken], Message],
        *,
        opens_more: bool = False,
    ) -> bytes:
        with Fields() as fields:
            key = codec.decode_token_key(fields, incoming.request.name)
        asker = current_asker()
        require_own(key.service_account, asker, Permission.SERVICE_ACCOUNTS_MANAGE)
        return await change_in_scope(
            self._calls,
            incoming,
            scope_of_resource(key.name),
            lambda tx, act: change_token(tx, key, asker, lambda token: change(token, act), opens_more=opens_more),
            encode,
        )


def _key(view: ServiceAccountView) -> ScopedKey:
    known = view.service_account
    return known.scope.account_id, known.scope.team_id, known.service_account_id
