"""Nodes with tokens at control: who is revoked hears nothing more."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import fleet_service_pb2 as fleet
from tallygate.control.v1 import fleet_service_pb2_grpc
from tallygate.control.v1 import token_service_pb2 as tokens
from tests.harness.wire.callers import guarded_control
from tests.harness.wire.control_failures import failure

NODE = "serviceAccounts/node"
HELLO = fleet.WatchConfigRequest(hello=fleet.NodeHello(node="node-a", epoch=1, metering_database_id="m"))


async def test_a_revoked_nodes_stream_ends(tmp_path: Path) -> None:
    """With the reason; another node's goes on. Without the role a stream is never opened."""
    async with guarded_control(tmp_path) as control:
        await control.tokens.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=NODE))
        made = await control.tokens.CreateAccessToken(tokens.CreateAccessTokenRequest(service_account=NODE))
        other = await control.tokens.CreateAccessToken(tokens.CreateAccessTokenRequest(service_account=NODE))
        async with grpc.aio.insecure_channel(control.address) as channel:
            watch = channel.stream_stream(
                "/tallygate.control.v1.FleetService/WatchConfig",
                fleet.WatchConfigRequest.SerializeToString,
                fleet.WatchConfigResponse.FromString,
            )
            bearer = (("authorization", f"Bearer {made.secret}"),)
            stream: Any = watch(metadata=bearer)
            assert (await failure(stream.read())).reason == "PERMISSION_DENIED"
            node = access.CreateBindingRequest(
                scope="platform", member=f"serviceAccount:{NODE}", role=role_pb2.ROLE_NODE
            )
            await control.access.CreateBinding(node)
            stream = watch(metadata=bearer)
            await stream.write(HELLO)
            assert (await stream.read()).version
            await control.tokens.DisableAccessToken(tokens.DisableAccessTokenRequest(name=other.access_token.name))
            for _ in range(2):
                await stream.read()
            await control.tokens.DisableAccessToken(tokens.DisableAccessTokenRequest(name=made.access_token.name))
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                while True:
                    assert await stream.read() is not grpc.aio.EOF
            assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stream_ends_with_the_right_to_its_nodes_name(tmp_path: Path) -> None:
    """Also where the caller goes on to be another node."""
    async with guarded_control(tmp_path) as control:
        await control.tokens.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=NODE))
        made = await control.tokens.CreateAccessToken(tokens.CreateAccessTokenRequest(service_account=NODE))
        bindings = [
            await control.access.CreateBinding(
                access.CreateBindingRequest(
                    scope="platform",
                    member=f"serviceAccount:{NODE}",
                    role=role_pb2.ROLE_NODE,
                    node_names=[name],
                )
            )
            for name in ("node-a", "node-b")
        ]
        async with grpc.aio.insecure_channel(control.address) as channel:
            bearer = (("authorization", f"Bearer {made.secret}"),)
            stream: Any = fleet_service_pb2_grpc.FleetServiceStub(channel).WatchConfig(metadata=bearer)
            await stream.write(HELLO)
            assert (await stream.read()).version
            await control.access.DeleteBinding(access.DeleteBindingRequest(name=bindings[0].binding.name))
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                while True:
                    assert await stream.read() is not grpc.aio.EOF
            assert ended.value.code() is grpc.StatusCode.PERMISSION_DENIED
