"""End users' API keys on running programs: they lead to services, are recorded, and end on every node at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tallygate._channel import open_aio_channel
from tallygate._security import Security
from tallygate.client import ClientSettings, Denied, MeteredRequest, MeteringClient
from tallygate.control.v1 import api_key_pb2, key_service_pb2, key_service_pb2_grpc, lifecycle_service_pb2
from tallygate.control.v1 import inference_service_pb2 as inference
from tallygate.control.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tallygate.metering.v1 import request_usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from tests.harness.patience import PATIENCE_S, until
from tests.harness.programs.guarded import GuardedFleet, guarded_fleet
from tests.harness.programs.one_service import SERVICE, enable_at

NODES = 2
KEY = "accounts/acme/keys/k"
PATIENCE_MS = round(1_000 * PATIENCE_S)
SETTINGS = ClientSettings(answer_ms=PATIENCE_MS, silence_ms=PATIENCE_MS)


@dataclass(eq=False)
class Keyed:
    """What a test has in hand: a fleet, a client for each node, and what people do with keys."""

    fleet: GuardedFleet
    clients: list[MeteringClient]
    keys: Any
    lifecycle: Any

    async def key(self, name: str = KEY) -> key_service_pb2.CreateKeyResponse:
        """A key for everything in the account."""
        scope = api_key_pb2.KeyScope(all_services=True, all_models=True)
        made: key_service_pb2.CreateKeyResponse = await self.keys.CreateKey(
            key_service_pb2.CreateKeyRequest(name=name, scope=scope)
        )
        return made

    async def begin(self, secret: str, client: MeteringClient) -> MeteredRequest:
        """A request with a key, as soon as it is let in."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                request = client.request(credential=secret, model="llama", input_tokens=3)
                try:
                    await request.authorize()
                except Denied as denied:
                    if not denied.retryable:
                        raise
                    await asyncio.sleep(denied.retry_after_ms / 1_000)
                    continue
                return request

    async def record(self, request: MeteredRequest) -> request_usage_pb2.RequestUsage:
        """What is recorded of a request."""
        async with open_aio_channel(self.fleet.nodes[0].address, self.fleet.operator) as channel:
            asked = usage_service_pb2.GetRequestUsageRequest(service=SERVICE, request_id=request.request_id)
            answer = await usage_service_pb2_grpc.UsageServiceStub(channel).GetRequestUsage(asked)
        return answer.parts[0]


@pytest.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[Keyed]:
    async with guarded_fleet(tmp_path) as fleet, AsyncExitStack() as stack:
        await enable_at(fleet.control.address, fleet.operator)
        channel = await stack.enter_async_context(open_aio_channel(fleet.control.address, fleet.operator))
        clients = []
        for number in range(NODES):
            node = await fleet.start_node(f"node-{number}")
            security = Security(token=(await fleet.token()).text)
            client = MeteringClient(node.address, settings=SETTINGS, security=security)
            clients.append(await stack.enter_async_context(client))
        yield Keyed(fleet, clients, key_service_pb2_grpc.KeyServiceStub(channel), LifecycleServiceStub(channel))


async def test_a_key_leads_to_its_service_and_is_recorded_by_its_uid(keyed: Keyed) -> None:
    """On each node, without a table; nothing that is recorded or logged has the secret."""
    made = await keyed.key()
    for client in keyed.clients:
        request = await keyed.begin(made.secret, client)
        assert request.service == SERVICE
        request.output(2)
        request.finish()
        await request.wait_recorded()
        record = await keyed.record(request)
        assert (record.credential, record.service, record.usage.output_tokens) == (made.key.uid, SERVICE, 2)
    assert all(made.secret not in node.log.read_text() for node in keyed.fleet.nodes)


async def test_the_end_of_a_key_stops_what_runs_by_it_on_every_node(keyed: Keyed) -> None:
    """Another key goes on; what was done is recorded."""
    made, other = await keyed.key(), await keyed.key("accounts/acme/keys/other")
    requests = [await keyed.begin(made.secret, client) for client in keyed.clients]
    others = [await keyed.begin(other.secret, client) for client in keyed.clients]

    await keyed.keys.DisableKey(key_service_pb2.DisableKeyRequest(name=KEY))

    await until(lambda: all(request.must_stop for request in requests))
    for request in requests:
        assert request.denial is not None
        assert request.denial.reason == "CREDENTIAL_INVALID"
        request.output(1)
        request.finish()
        await request.wait_recorded()
        assert (await keyed.record(request)).usage.output_tokens == 1
    for request, client in zip(others, keyed.clients, strict=True):
        assert not request.must_stop
        with pytest.raises(Denied, match="CREDENTIAL_INVALID"):
            await client.request(credential=made.secret, model="llama").authorize()
        request.finish()


async def test_a_service_that_requires_keys_lets_in_nobody_without(keyed: Keyed) -> None:
    """From the moment in which nodes hear of it."""
    made, (client, _) = await keyed.key(), keyed.clients
    (await keyed.begin(made.secret, client)).finish()
    policy = inference.CREDENTIAL_POLICY_REQUIRED
    changed = lifecycle_service_pb2.UpdateInferenceServiceRequest(name=SERVICE, credential_policy=policy)
    await keyed.lifecycle.UpdateInferenceService(changed)

    async def is_refused() -> bool:
        request = client.request(SERVICE)
        try:
            await request.authorize()
        except Denied as denied:
            return denied.reason == "CREDENTIAL_INVALID"
        request.finish()
        return False

    async with asyncio.timeout(PATIENCE_S):
        while not await is_refused():  # noqa: ASYNC110  # another process changes it
            await asyncio.sleep(0.05)
    (await keyed.begin(made.secret, client)).finish()
