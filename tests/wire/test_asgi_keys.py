"""The middleware without a table: the API key leads to the service, and its refusal is what clients know."""

from __future__ import annotations

import hashlib

import pytest

from tallygate.client import MeteringClient
from tallygate.integrations import environment
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.metering.v1 import decision_pb2
from tests.harness.asgi.asgi_harness import DONE, SERVICE, Caller, Upstream, delta, streams, usage
from tests.harness.wire.fake_metering import FakeMetering

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
ASKED = {"model": "llama-3", "stream": True, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
SHA256 = hashlib.sha256(b"sk-acme-1").digest()


@pytest.fixture
def rig(node: FakeMetering, client: MeteringClient) -> Caller:
    """An app behind a middleware that was told no service, and a node that knows one key."""
    node.services[SHA256] = SERVICE
    upstream = Upstream(streams(delta("Hi"), usage(9, 3), DONE))
    return Caller(MeteringMiddleware(upstream, client=client, services=environment.services_from({})), node)


@pytest.mark.parametrize(
    "header", [(b"authorization", b"Bearer sk-acme-1"), (b"x-api-key", b"sk-acme-1"), (b"api-key", b"sk-acme-1")]
)
async def test_a_request_goes_where_its_key_leads(rig: Caller, header: tuple[bytes, bytes]) -> None:
    """The key is hashed here, and goes with the model of the body and the peer's address; its text goes nowhere."""
    finish = await rig.post(CHAT, ASKED, headers=[header])

    said = rig.node.reports[0]
    assert (said.service, said.credential_sha256, said.model) == ("", SHA256, "llama-3")
    assert (said.source_address, said.credential) == ("192.0.2.7", "")
    assert finish.usage.output_tokens == 3
    assert rig.status == 200
    assert all(b"sk-acme-1" not in report.SerializeToString() for report in rig.node.reports)


async def test_what_follows_on_another_stream_names_the_service_that_the_node_has_said(
    node: FakeMetering, client: MeteringClient
) -> None:
    """So it is recorded whatever became of the key."""
    node.services[SHA256] = SERVICE
    async with client.request(credential="sk-acme-1", model="llama-3", request_id="r1") as request:
        assert request.service == SERVICE
        node.streams[0].hang_up()
        request.output(5)
    assert node.committed["r1"].service == SERVICE
    assert (node.committed["r1"].model, node.committed["r1"].credential_sha256) == ("", SHA256)


@pytest.mark.parametrize(
    ("path", "headers", "kind"),
    [
        (CHAT, [(b"authorization", b"Bearer sk-unknown")], "authentication_error"),
        (CHAT, [], "authentication_error"),
        (MESSAGES, [(b"x-api-key", b"sk-unknown")], "authentication_error"),
        (MESSAGES, [], "authentication_error"),
    ],
)
async def test_a_key_that_opens_nothing_is_401_in_the_words_of_the_api(
    rig: Caller, path: str, headers: list[tuple[bytes, bytes]], kind: str
) -> None:
    """One that is missing, and one that the node refuses."""
    error = (await rig.ask(path, ASKED, headers=headers))["error"]

    assert (rig.status, rig.headers["www-authenticate"]) == (401, "Bearer")
    assert (error["type"], error["code"]) == (kind, "invalid_api_key")
    assert "retry-after" not in rig.headers


async def test_a_key_for_several_services_needs_a_model(rig: Caller) -> None:
    """That is the client's mistake, not the server's."""
    rig.node.denies_all = decision_pb2.DECISION_REASON_INVALID_REPORT
    error = (await rig.ask(CHAT, {**ASKED, "model": ""}, headers=[(b"x-api-key", b"sk-acme-1")]))["error"]

    assert (rig.status, error["param"], error["code"]) == (400, "model", "invalid_request")
