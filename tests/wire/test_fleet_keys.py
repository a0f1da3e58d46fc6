"""API keys and models' names on the stream of a metering node, as the wire has them."""

import hashlib
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from control_service.api.api_key_codec import MODEL_BYTES_MAX, SUBSCRIBE_MAX
from control_service.bootstrap import Access
from control_service.usecases.resolve_credential import Credentials
from tallygate.control.v1 import api_key_config_pb2, api_key_pb2
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import inference_service_pb2 as services
from tallygate.control.v1 import key_service_pb2 as keys
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tests.harness.control.access import SEAL
from tests.harness.wire.control_fleet import SERVICE, running_control, wire_node

FIRST = "accounts/acme/keys/first"
SHA = b"x" * 32
OWN_SECRET = "x7Kd9Qm2pLzR4vTn8WbYc3HsJ6fGa1Ue"  # what a tenant brings along
EVERYTHING = api_key_pb2.KeyScope(all_services=True, all_models=True)
VALID, UNKNOWN, REVOKED = (
    api_key_config_pb2.API_KEY_STATE_VALID,
    api_key_config_pb2.API_KEY_STATE_UNKNOWN,
    api_key_config_pb2.API_KEY_STATE_REVOKED,
)


@pytest.mark.parametrize(
    ("subscription", "field"),
    [
        (pb.ConfigSubscription(subscribe_api_keys=[SHA, b"short"]), "subscribe_api_keys"),
        (pb.ConfigSubscription(unsubscribe_api_keys=[b""]), "unsubscribe_api_keys"),
        (pb.ConfigSubscription(subscribe_api_keys=[SHA] * (SUBSCRIBE_MAX + 1)), "subscribe_api_keys"),
        (pb.ConfigSubscription(subscribe_models=[""]), "subscribe_models"),
        (pb.ConfigSubscription(subscribe_models=["x" * (MODEL_BYTES_MAX + 1)]), "subscribe_models"),
        (pb.ConfigSubscription(subscribe_models=["x"] * (SUBSCRIBE_MAX + 1)), "subscribe_models"),
    ],
)
async def test_a_malformed_question_ends_the_stream(
    subscription: pb.ConfigSubscription, field: str, tmp_path: Path
) -> None:
    """INVALID_ARGUMENT names the field; nothing of the key is repeated."""
    async with running_control(tmp_path) as control, wire_node(control) as node:
        await node.say(pb.WatchConfigRequest(subscription=subscription))
        assert await node.end() is grpc.StatusCode.INVALID_ARGUMENT
        assert field in (await node.stream.details())


async def test_a_node_hears_of_keys_and_models(tmp_path: Path) -> None:
    """In one question, before there is either; then of each change, as calls make it."""
    sha = hashlib.sha256(OWN_SECRET.encode()).digest()
    open_with_pepper = Access(Credentials(SEAL))
    async with running_control(tmp_path, access=open_with_pepper) as control, wire_node(control) as node:
        await control.stock()
        question = pb.ConfigSubscription(subscribe_api_keys=[sha], subscribe_models=["llama", "fast"])
        await node.say(pb.WatchConfigRequest(subscription=question))
        await node.until(lambda: bool(node.api_keys) and len(node.models) == 2)
        assert (node.api_keys[-1].state, node.models) == (UNKNOWN, {"llama": "models/llama", "fast": ""})
        aliases = catalogue.UpdateModelRequest(name="models/llama", aliases=catalogue.AliasList(aliases=["fast"]))
        await control.catalogue.UpdateModel(aliases)
        await node.until(lambda: node.models["fast"] == "models/llama")
        made = await control.keys.CreateKey(keys.CreateKeyRequest(name=FIRST, scope=EVERYTHING, secret=OWN_SECRET))
        await node.until(lambda: node.api_keys[-1].state == VALID)
        assert (node.api_keys[-1].uid, node.api_keys[-1].key) == (made.key.uid, FIRST)
        rotated = await control.keys.RotateKey(keys.RotateKeyRequest(name=FIRST, overlap=Duration(seconds=60)))
        await node.until(lambda: node.api_keys[-1].HasField("valid_for"))
        second = hashlib.sha256(rotated.secret.encode()).digest()
        await node.say(pb.WatchConfigRequest(subscription=pb.ConfigSubscription(subscribe_api_keys=[second])))
        await node.until(lambda: node.api_keys[-1].key_sha256 == second)
        assert (node.api_keys[-1].uid, node.api_keys[-1].state) == (made.key.uid, VALID)
        await control.keys.DisableKey(keys.DisableKeyRequest(name=FIRST))
        await node.until(lambda: [one.state for one in node.api_keys[-2:]] == [REVOKED] * 2)
        assert {one.uid for one in node.api_keys[-2:]} == {made.key.uid}


async def test_a_node_hears_whether_a_service_needs_keys(tmp_path: Path) -> None:
    """And who reaches it, and whether the rules of its model count."""
    async with running_control(tmp_path) as control, wire_node(control) as node:
        await control.stock()
        await node.subscribe(SERVICE)
        before = node.services[SERVICE]
        assert before.credential_policy == services.CREDENTIAL_POLICY_OPEN
        assert (before.shared, before.exempt_from_model_rules) == (False, False)
        required = services.CREDENTIAL_POLICY_REQUIRED
        update = lifecycle.UpdateInferenceServiceRequest(
            name=SERVICE, credential_policy=required, shared=True, exempt_from_model_rules=True
        )
        await control.lifecycle.UpdateInferenceService(update)
        await node.until(lambda: node.services[SERVICE].credential_policy == required)
        assert (node.services[SERVICE].shared, node.services[SERVICE].exempt_from_model_rules) == (True, True)
