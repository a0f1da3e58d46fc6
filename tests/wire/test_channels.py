"""How clients are sure of servers and servers of clients: certificates, tokens, and sentences where that fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner
from typing_extensions import override

import tallygate._pem
from metering_service.api.control.replicas import connect_to, is_reachable
from tallygate._channel import Channels, open_aio_channel, open_channel
from tallygate._security import Security
from tallygate._server.grpc.tls import ServerCertificates
from tallygate.cli.app import app
from tallygate.client import MeteringClient, SyncMeteringClient, Unreachable
from tallygate.metering.v1 import metering_service_pb2, metering_service_pb2_grpc
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S, until
from tests.harness.tls import NODE_URI, Certificates, PairFiles
from tests.harness.wire.fake_metering import FakeMetering
from tests.harness.wire.fake_metering import serving as serving_fake
from tests.harness.wire.scripted_server import ALLOW, ScriptedMetering, nothing, serving

SERVICE = "accounts/acme/services/chat"
HASTY = replace(PATIENT, answer_ms=100)
FIRST, SECOND = "tgt_first", "tgt_second"
REQUEST = metering_service_pb2.AuthorizeRequest()


@dataclass(eq=False)
class Listening(ScriptedMetering):
    """Keeps the tokens of calls, empty where there is none, and how callers are sure of the server."""

    tokens: list[str] = field(default_factory=list)
    transports: set[str] = field(default_factory=set)

    def listen(self, context: Any) -> None:
        self.tokens.append(str(dict(context.invocation_metadata()).get("authorization", "")))
        self.transports |= {each.decode() for each in context.auth_context().get("transport_security_type", ())}

    @override
    async def Authorize(self, request: metering_service_pb2.AuthorizeRequest, context: Any) -> Any:
        self.listen(context)
        return ALLOW

    @override
    async def Meter(self, request_iterator: Any, context: Any) -> AsyncIterator[metering_service_pb2.MeterResponse]:
        self.listen(context)
        async for response in super().Meter(request_iterator, context):
            yield response


@pytest.fixture(name="made")
def fixture_made(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "ours")


@pytest.fixture(name="no_pause", autouse=True)
def fixture_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read again each time that they are asked for."""
    monkeypatch.setattr(tallygate._pem, "CHECK_INTERVAL_NS", 0)


async def call_all(channel: grpc.aio.Channel) -> None:
    """A call of both kinds that there are."""
    stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
    await stub.Authorize(REQUEST, timeout=PATIENCE_S, metadata=(("x-other", "kept"),))
    stream = stub.Meter(timeout=PATIENCE_S)
    await stream.write(metering_service_pb2.MeterRequest(first_sequence=1))
    await stream.read()
    await stream.done_writing()
    assert await stream.code() is grpc.StatusCode.OK


def call_from_a_thread(address: str, security: Security) -> None:
    with open_channel(address, security) as channel:
        grpc.channel_ready_future(channel).result(PATIENCE_S)
        stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
        stub.Authorize(REQUEST, timeout=PATIENCE_S)
        for _ in stub.Meter(iter([metering_service_pb2.MeterRequest(first_sequence=1)]), timeout=PATIENCE_S):
            pass


@pytest.mark.parametrize("by_tls", [True, False])
async def test_a_token_goes_with_every_call(made: Certificates, *, by_tls: bool) -> None:
    """By TLS, and by plain text within the machine; on channels of both kinds."""
    servicer = Listening(nothing)
    security = Security(ca_file=made.ca if by_tls else "", token=FIRST)
    async with serving(tls=made.server_tls() if by_tls else None, servicer=servicer) as server:
        async with open_aio_channel(server.address, security) as channel:
            await channel.channel_ready()
            await call_all(channel)
        await asyncio.to_thread(call_from_a_thread, server.address, security)
    assert servicer.tokens == [f"Bearer {FIRST}"] * 4
    assert servicer.transports == {"ssl" if by_tls else "insecure"}


async def test_a_token_that_was_replaced_goes_with_the_next_call(made: Certificates, tmp_path: Path) -> None:
    """A file that is gone, or holds no token, changes nothing."""
    file = tmp_path / "token"
    file.write_text(f"{FIRST}\n")
    servicer, complaints = Listening(nothing), list[str]()
    channels = Channels(Security(ca_file=made.ca, token_file=file), complaints.append)
    async with (
        serving(tls=made.server_tls(), servicer=servicer) as server,
        channels.open_aio(server.address) as channel,
    ):
        stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
        for change in (lambda: None, lambda: file.write_text(SECOND), lambda: file.write_text("a b"), file.unlink):
            change()
            await stub.Authorize(REQUEST, timeout=PATIENCE_S)
    assert servicer.tokens == [f"Bearer {token}" for token in (FIRST, SECOND, SECOND, SECOND)]
    (complaint,) = complaints
    assert complaint == f"{file} is no token: a token is one word of visible ASCII letters."


@pytest.mark.parametrize("address", ["node.example:7402", "10.0.0.1:7402", "dns:///node.example:7402"])
def test_a_token_is_not_sent_to_others_in_plain_text(made: Certificates, address: str) -> None:
    """By no client; by TLS it is."""
    for call in (
        lambda security: open_channel(address, security),
        lambda security: open_aio_channel(address, security),
        lambda security: MeteringClient(["127.0.0.1:7402", address], security=security),
        lambda security: SyncMeteringClient(address, settings=PATIENT, security=security),
    ):
        with pytest.raises(ValueError, match=f"^The token is not sent to {address} in plain text") as caught:
            call(Security(token=FIRST))
        assert FIRST not in str(caught.value)
    Channels(Security(ca_file=made.ca, token=FIRST)).check(address)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"token": "a b"}, "^The token that was given is no token"),
        ({"token": "t\u00f6ken"}, "^The token that was given is no token"),
        ({"token_file": "/nowhere/token"}, "^/nowhere/token cannot be read: No such file"),
        ({"ca_file": "/nowhere/ca.pem"}, "^/nowhere/ca.pem cannot be read: No such file"),
        ({"cert_file": "c", "ca_file": "a"}, "^cert_file needs key_file"),
        ({"key_file": "k", "ca_file": "a"}, "^key_file needs cert_file"),
        ({"cert_file": "c", "key_file": "k"}, "^cert_file needs ca_file"),
        ({"token": "tgt_x", "token_file": "f"}, "^token and token_file are both set"),
    ],
)
def test_what_is_wrong_with_settings_is_one_sentence(wrong: dict[str, str], sentence: str) -> None:
    """Before anything is connected; no token is repeated, nor shown with the other settings."""
    with pytest.raises(ValueError, match=sentence) as caught:
        MeteringClient("127.0.0.1:7402", security=Security(**wrong))
    assert wrong.get("token", "nothing") not in str(caught.value)
    assert FIRST not in repr(Security(token=FIRST))


@asynccontextmanager
async def node_with(made: Certificates, *, pair: PairFiles | None = None, mtls: bool = False) -> AsyncIterator[str]:
    """A metering node that serves by TLS, and with `mtls` only callers with certificates; its address."""
    certificates = ServerCertificates(made.server_tls(mtls=mtls, pair=pair))
    async with serving_fake(FakeMetering(), certificates.credentials(verify_clients=mtls)) as node:
        yield node.address


def security(made: Certificates, client: PairFiles | None = None) -> Security:
    return Security(made.ca, client.certificate, client.key) if client else Security(made.ca)


async def test_requests_are_metered_by_tls(made: Certificates) -> None:
    """Also from threads, and where the node asks for a certificate."""

    def meter(address: str, security: Security) -> None:
        with (
            SyncMeteringClient(address, settings=PATIENT, security=security) as client,
            client.request(SERVICE) as request,
        ):
            request.output(5)
        assert request.receipt is not None

    for mtls, client in ((False, None), (True, made.client())):
        async with node_with(made, mtls=mtls) as address:
            async with MeteringClient(address, settings=PATIENT, security=security(made, client)) as metering:
                async with metering.request(SERVICE) as request:
                    request.output(5)
                assert request.receipt is not None
            await asyncio.to_thread(meter, address, security(made, client))


async def said_of(address: str, security: Security) -> str:
    """The sentence with which a request fails."""
    async with MeteringClient(address, settings=HASTY, security=security) as client:
        await until(lambda: address in client._session.trouble)
        with pytest.raises(Unreachable) as caught:
            await client.request(SERVICE, input_tokens=1).authorize()
    return str(caught.value)


async def test_a_client_says_what_is_wrong_with_a_node(made: Certificates, tmp_path: Path) -> None:
    """In words that say whose certificate it is about."""
    other = Certificates(tmp_path / "theirs", "another authority")
    elsewhere = made.server("elsewhere", ("elsewhere.example",))
    for serves, speaks, words in (
        (node_with(made), other.ca, "not accepted (unable to get local issuer certificate)"),
        (node_with(made, pair=made.expired_server()), made.ca, "not accepted (certificate has expired)"),
        (node_with(made, pair=elsewhere), made.ca, "a certificate that is not for this name"),
        (node_with(made), "", "breaks off each connection, as servers do that speak TLS only"),
        (node_with(made, mtls=True), made.ca, "as servers do that want a certificate of their callers"),
    ):
        async with serves as address:
            assert f"{address} " in (sentence := await said_of(address, Security(speaks)))
            assert words in sentence
    async with serving_fake(FakeMetering()) as node:
        assert f"{node.address} does not speak TLS" in await said_of(node.address, Security(made.ca))


async def test_the_check_of_the_middleware_goes_the_way_that_the_middleware_will(
    made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same variables; it says why a node is not reached."""

    async def check(**more: str) -> str:
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        done = await asyncio.to_thread(CliRunner().invoke, app, ["check", "middleware"])
        return " ".join((done.stdout + done.stderr).split())

    async with node_with(made) as address:
        said = await check(TALLYGATE_METERING_ADDRESSES=address, TALLYGATE_SERVICE=SERVICE)
        assert f"the node at {address} breaks off each connection, as servers do that speak TLS only" in said
        assert "The middleware would start" in await check(TALLYGATE_CA=str(made.ca))
        assert "TALLYGATE_CERT needs TALLYGATE_KEY" in await check(TALLYGATE_CERT=str(made.ca))


async def test_a_client_takes_files_that_were_replaced(made: Certificates, tmp_path: Path) -> None:
    """With its next stream; meanwhile the one that it has goes on."""
    other = Certificates(tmp_path / "theirs", "another authority")
    files = made.client()
    fake = FakeMetering()
    certificates = ServerCertificates(made.server_tls(mtls=True))
    async with (
        serving_fake(fake, certificates.credentials(verify_clients=True)) as node,
        MeteringClient(node.address, settings=PATIENT, security=security(made, files)) as client,
    ):
        await until(lambda: client.connected_to)
        made.server().write(other.authority.server(("127.0.0.1",), other.now))
        made.ca.write_bytes(other.ca.read_bytes())
        files.write(other.authority.client(NODE_URI, other.now))
        async with client.request(SERVICE) as request:
            request.output(5)
        assert len(fake.streams) == 1
        fake.streams[0].hang_up()
        await until(lambda: len(fake.streams) == 2 and client.connected_to)
    assert request.receipt is not None


async def test_a_link_takes_files_that_were_replaced(made: Certificates, tmp_path: Path) -> None:
    """With its next stream, on a new channel; a call on the old one may still end."""
    other = Certificates(tmp_path / "theirs", "another authority")
    servicer = Listening(nothing)
    async with serving(tls=made.server_tls(mtls=True), servicer=servicer) as server:
        address, files = server.server.mtls_address, made.client()
        channels = Channels(security(made, files))
        assert await is_reachable(address, channels, PATIENCE_S)
        async with connect_to(address, channels)() as stub:
            replica = stub._replicas[0]  # type: ignore[attr-defined]  # all replicas as one
            before = replica._channel
            stub.WatchConfig().cancel()
            assert replica._channel is before, "nothing has changed"
            open_call = metering_service_pb2_grpc.MeteringServiceStub(before).Meter()
            await open_call.write(metering_service_pb2.MeterRequest(first_sequence=1))
            await open_call.read()
            made.ca.write_bytes(other.ca.read_bytes())
            files.write(other.authority.client(NODE_URI, other.now))
            made.server().write(other.authority.server(("127.0.0.1",), other.now))
            stub.WatchConfig().cancel()
            assert replica._channel is not before
            await replica._channel.channel_ready()
            await open_call.write(metering_service_pb2.MeterRequest(first_sequence=2))
            assert (await open_call.read()).answered_through == 2
            await open_call.done_writing()
