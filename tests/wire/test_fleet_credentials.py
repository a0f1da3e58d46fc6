"""Credentials on the stream of a metering node, as the wire has them."""

from pathlib import Path

import grpc
import pytest

from control_service.api.credential_codec import SUBSCRIBE_MAX
from tallygate.control.v1 import fleet_service_pb2 as pb
from tests.harness.wire.control_fleet import running_control, wire_node

TOKEN = pb.Credential(token=pb.TokenProof(token_id="a" * 24, token_sha256=b"x" * 32))
URI = pb.Credential(certificate_uri="spiffe://example.org/tallygate/meter/acme")


@pytest.mark.parametrize(
    ("subscription", "field"),
    [
        (pb.ConfigSubscription(subscribe_credentials=[TOKEN, pb.Credential()]), "subscribe_credentials[1].token"),
        (
            pb.ConfigSubscription(subscribe_credentials=[pb.Credential(token=pb.TokenProof(token_id="a" * 24))]),
            "subscribe_credentials[0].token.token_sha256",
        ),
        (
            pb.ConfigSubscription(unsubscribe_credentials=[pb.Credential(token=pb.TokenProof(token_sha256=b"x" * 32))]),
            "unsubscribe_credentials[0].token.token_id",
        ),
        (
            pb.ConfigSubscription(subscribe_credentials=[pb.Credential(certificate_uri="x" * 513)]),
            "subscribe_credentials[0].certificate_uri",
        ),
        (pb.ConfigSubscription(subscribe_credentials=[TOKEN] * (SUBSCRIBE_MAX + 1)), "subscribe_credentials"),
    ],
)
async def test_a_malformed_credential_ends_the_stream(
    subscription: pb.ConfigSubscription, field: str, tmp_path: Path
) -> None:
    """INVALID_ARGUMENT names the field; nothing of the token is repeated."""
    async with running_control(tmp_path) as control, wire_node(control) as node:
        await node.say(pb.WatchConfigRequest(subscription=subscription))
        assert await node.end() is grpc.StatusCode.INVALID_ARGUMENT
        assert field in (await node.stream.details())


async def test_a_node_is_told_of_credentials_beside_services(tmp_path: Path) -> None:
    """In one message or several, each as it was asked for; at a server that knows no credentials they open nothing."""
    async with running_control(tmp_path) as control, wire_node(control) as node:
        both = pb.ConfigSubscription(subscribe=["accounts/acme/services/chat"], subscribe_credentials=[TOKEN, URI])
        await node.say(pb.WatchConfigRequest(subscription=both))
        await node.until(lambda: len(node.credentials) == 2 and bool(node.services))
        assert [message.credential for message in node.credentials] == [TOKEN, URI]
        assert {message.state for message in node.credentials} == {pb.CREDENTIAL_STATE_UNKNOWN}
