"""The token by which the node of `tallygate up --auth` proves itself to control, made by the first operator."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import grpc

from tallygate._channel import open_aio_channel
from tallygate._security import Security
from tallygate.access.v1 import role_pb2
from tallygate.cli.bootstrap import OPERATOR_FILE
from tallygate.cli.rpc import TIMEOUT_S
from tallygate.cli.secrets_shown import write_secret
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import access_service_pb2_grpc, token_service_pb2_grpc
from tallygate.control.v1 import token_service_pb2 as tokens

NODE_FILE: Final = "node.token"
SERVICE_ACCOUNT: Final = "serviceAccounts/up-node"


async def make_node_token(directory: Path, control: str, security: Security) -> None:
    """Makes the node's token in this directory, unless the one that is there is good. Raises grpc.aio.AioRpcError."""
    file = directory / NODE_FILE
    if file.exists() and await _is_good(control, replace(security, token="", token_file=file)):
        return
    operator = replace(security, token="", token_file=directory / OPERATOR_FILE)
    async with open_aio_channel(control, operator) as channel:
        secret = await _make(channel)
    file.unlink(missing_ok=True)
    write_secret(secret, str(file))


async def _is_good(control: str, security: Security) -> bool:
    async with open_aio_channel(control, security) as channel:
        try:
            await access_service_pb2_grpc.AccessServiceStub(channel).WhoAmI(access.WhoAmIRequest(), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise
            return False
    return True


async def _make(channel: grpc.aio.Channel) -> str:
    token_service = token_service_pb2_grpc.TokenServiceStub(channel)
    await _create_account(token_service)
    await access_service_pb2_grpc.AccessServiceStub(channel).CreateBinding(
        access.CreateBindingRequest(
            scope="platform",
            member=f"serviceAccount:{SERVICE_ACCOUNT}",
            role=role_pb2.ROLE_NODE,
            idempotency_key=str(uuid.uuid4()),
        ),
        timeout=TIMEOUT_S,
    )
    made = await token_service.CreateAccessToken(
        tokens.CreateAccessTokenRequest(
            service_account=SERVICE_ACCOUNT, display_name="tallygate up", idempotency_key=str(uuid.uuid4())
        ),
        timeout=TIMEOUT_S,
    )
    return made.secret


async def _create_account(stub: Any) -> None:
    """Creates the node's service account, unless an earlier run has."""
    request = tokens.CreateServiceAccountRequest(
        name=SERVICE_ACCOUNT, display_name="The node of `tallygate up`", idempotency_key=str(uuid.uuid4())
    )
    try:
        await stub.CreateServiceAccount(request, timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
            raise
