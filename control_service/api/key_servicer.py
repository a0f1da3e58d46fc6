"""KeyService."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from google.protobuf.message import Message
from typing_extensions import override

from control_service.api import key_codec as codec
from control_service.api.asking import change_with_secret
from control_service.api.calls import Calls, Context, Incoming
from control_service.api.fields import Fields
from control_service.api.paging import decode_page
from control_service.domain.account import Account
from control_service.domain.api_key_reach import reaches
from control_service.usecases.idempotent_call import Act
from control_service.usecases.keys.key_changes import delete_key, rotate_key, set_disabled, update_key
from control_service.usecases.keys.key_mint import KeyMint
from control_service.usecases.keys.key_views import KeyView, get_key, list_keys, service_of_keys
from control_service.usecases.keys.new_keys import ShownKey, create_key, import_keys
from control_service.usecases.ports import Database, Transaction
from tallygate._server.clock import Clock
from tallygate._server.grpc.paging import encode_page
from tallygate.control.v1 import key_service_pb2 as pb
from tallygate.control.v1 import key_service_pb2_grpc

Request = TypeVar("Request", bound=Message)


class KeyServicer(key_service_pb2_grpc.KeyServiceServicer):
    """API keys of end users. A secret is in the answer to the call that made it, and nowhere else."""

    def __init__(self, database: Database, clock: Clock, calls: Calls, mint: KeyMint) -> None:
        self._database = database
        self._clock = clock
        self._calls = calls
        self._mint = mint

    @override
    async def CreateKey(self, request: pb.CreateKeyRequest, context: Context) -> pb.CreateKeyResponse:
        with Fields() as fields:
            account_id, new = codec.decode_create(fields, request)
        sealed = _copy(request)
        if request.secret:
            sealed.secret = self._mint.hash_of_text(request.secret).hex()
        response, secret = await self._with_secret(
            Incoming(sealed, context),
            account_id,
            lambda tx, account, act: create_key(tx, account, new, self._mint, act),
            pb.CreateKeyResponse,
        )
        answer = pb.CreateKeyResponse.FromString(response)
        if secret:
            answer.secret, answer.secret_lost = secret, False
        return answer

    @override
    async def ImportKeys(self, request: pb.ImportKeysRequest, context: Context) -> pb.ImportKeysResponse:
        with Fields() as fields:
            account_id, imported = codec.decode_import(fields, request)
        sealed = _copy(request)
        for one in sealed.keys:
            one.secret_sha256 = self._mint.hash_of(one.secret_sha256)
        response = await self._calls.of_account(
            Incoming(sealed, context),
            account_id,
            lambda tx, account, act: import_keys(tx, account, imported, self._mint, act),
            lambda count: pb.ImportKeysResponse(key_count=count),
        )
        return pb.ImportKeysResponse.FromString(response)

    @override
    async def GetKey(self, request: pb.GetKeyRequest, context: Context) -> pb.GetKeyResponse:
        with Fields() as fields:
            account_id, key_id = fields.api_key("name", request.name)
        async with self._database.reading() as tx:
            view = await get_key(tx, account_id, key_id, self._clock.now_us())
        return pb.GetKeyResponse(key=codec.encode_key(view))

    @override
    async def ListKeys(self, request: pb.ListKeysRequest, context: Context) -> pb.ListKeysResponse:
        with Fields() as fields:
            wanted = codec.decode_list(fields, request)
            after, limit = decode_page(fields, request, (wanted.account_id or "", ""))
        async with self._database.reading() as tx:
            service = await service_of_keys(tx, wanted)
            views = await list_keys(tx, wanted, after, limit + 1, self._clock.now_us())
        page, token = encode_page(
            request, views, limit, codec.encode_key, lambda view: (view.key.account_id, view.key.key_id)
        )
        if service is not None:
            # Only as many as the page has, which is a part of what was found.
            page = [key for key, view in zip(page, views, strict=False) if reaches(view.key, service)]
        return pb.ListKeysResponse(keys=page, next_page_token=token)

    @override
    async def UpdateKey(self, request: pb.UpdateKeyRequest, context: Context) -> pb.UpdateKeyResponse:
        with Fields() as fields:
            (account_id, key_id), update = codec.decode_update(fields, request)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: update_key(tx, account, key_id, update, act),
            lambda view: pb.UpdateKeyResponse(key=codec.encode_key(view)),
        )
        return pb.UpdateKeyResponse.FromString(response)

    @override
    async def RotateKey(self, request: pb.RotateKeyRequest, context: Context) -> pb.RotateKeyResponse:
        with Fields() as fields:
            account_id, rotation = codec.decode_rotation(fields, request)
        response, secret = await self._with_secret(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: rotate_key(tx, account, rotation, self._mint, act),
            pb.RotateKeyResponse,
        )
        answer = pb.RotateKeyResponse.FromString(response)
        if secret:
            answer.secret, answer.secret_lost = secret, False
        return answer

    @override
    async def DisableKey(self, request: pb.DisableKeyRequest, context: Context) -> pb.DisableKeyResponse:
        disable = partial(set_disabled, disabled=True)
        response = await self._change(Incoming(request, context), disable, pb.DisableKeyResponse)
        return pb.DisableKeyResponse.FromString(response)

    @override
    async def EnableKey(self, request: pb.EnableKeyRequest, context: Context) -> pb.EnableKeyResponse:
        enable = partial(set_disabled, disabled=False)
        response = await self._change(Incoming(request, context), enable, pb.EnableKeyResponse)
        return pb.EnableKeyResponse.FromString(response)

    @override
    async def DeleteKey(self, request: pb.DeleteKeyRequest, context: Context) -> pb.DeleteKeyResponse:
        response = await self._change(Incoming(request, context), delete_key, pb.DeleteKeyResponse)
        return pb.DeleteKeyResponse.FromString(response)

    async def _change(
        self,
        incoming: Incoming,
        change: Callable[[Transaction, Account, str, Act], Awaitable[KeyView]],
        response: Callable[..., Message],
    ) -> bytes:
        """Changes the key whose `name` the request has."""
        with Fields() as fields:
            account_id, key_id = fields.api_key("name", incoming.request.name)
        return await self._calls.of_account(
            incoming,
            account_id,
            lambda tx, account, act: change(tx, account, key_id, act),
            lambda view: response(key=codec.encode_key(view)),
        )

    async def _with_secret(
        self,
        incoming: Incoming,
        account_id: str,
        change: Callable[[Transaction, Account, Act], Awaitable[ShownKey]],
        response: Callable[..., Message],
    ) -> tuple[bytes, str]:
        def encode(shown: ShownKey) -> tuple[Message, str]:
            return response(key=codec.encode_key(shown.view), secret_lost=bool(shown.secret)), shown.secret

        return await change_with_secret(
            lambda encoded: self._calls.of_account(incoming, account_id, change, encoded), encode
        )


def _copy(request: Request) -> Request:
    copy = type(request)()
    copy.CopyFrom(request)
    return copy
