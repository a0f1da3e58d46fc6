"""TLS over real connections: who is let in, what a caller's certificate says, and certificates that are replaced."""

import asyncio
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from typing_extensions import override

import tallygate._pem
from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.tls import ServerCertificates, peer_certificate_uris
from tallygate.metering.v1 import metering_service_pb2, metering_service_pb2_grpc
from tests.harness.patience import PATIENCE_S
from tests.harness.tls import HOSTS, METER_URI, NODE_URI, Certificates, PairFiles
from tests.harness.wire.scripted_server import ALLOW, ScriptedMetering, Serving, nothing, serving

STREAMS = 200
# Without it, a channel may take the connection of another one, which trusted somebody else.
ALONE = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]


@dataclass(eq=False)
class Asking(ScriptedMetering):
    """Keeps what callers' certificates say."""

    uris: list[tuple[str, ...]] = field(default_factory=list)

    @override
    async def Authorize(self, request: metering_service_pb2.AuthorizeRequest, context: Any) -> Any:
        self.uris.append(peer_certificate_uris(context))
        return ALLOW


@pytest.fixture(name="made")
def fixture_made(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "ours")


def channel_to(address: str, credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(address, credentials, options=ALONE)


async def outcome(address: str, credentials: grpc.ChannelCredentials | None) -> str:
    """How a call ends: nothing where it succeeds, else what is said of the failure."""
    channel = channel_to(address, credentials) if credentials else grpc.aio.insecure_channel(address, options=ALONE)
    async with channel:
        stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
        try:
            await stub.Authorize(metering_service_pb2.AuthorizeRequest(), timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        return ""


async def shown_by(address: str, made: Certificates) -> str:
    """The certificate with which a server greets a new connection, as PEM."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(made.ca))
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=host)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return ssl.DER_cert_to_PEM_cert(shown)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_is_known_by_its_name(made: Certificates, host: str) -> None:
    """Whoever trusts its authority reaches it by every name in its certificate, with or without a certificate."""
    servicer = Asking(nothing)
    async with serving(tls=made.server_tls(), servicer=servicer) as server:
        address = server.address.replace("127.0.0.1", host)
        assert await outcome(address, made.credentials()) == ""
        assert await outcome(address, made.credentials(made.client())) == ""
    assert servicer.uris == [(), ()], "nobody was asked for a certificate"


async def test_a_server_that_is_not_known_is_not_spoken_to(made: Certificates, tmp_path: Path) -> None:
    """One of another authority, of another name, or of the past."""
    other = Certificates(tmp_path / "theirs", "another authority")
    for pair, credentials, reason in (
        (made.server(), other.credentials(), "unable to get local issuer certificate"),
        (made.server("elsewhere", ("elsewhere.example",)), made.credentials(), "Hostname Verification Check failed"),
        (made.expired_server(), made.credentials(), "certificate has expired"),
    ):
        async with serving(tls=made.server_tls(pair=pair)) as server:
            assert reason in await outcome(server.address, credentials)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_plain_text_is_not_taken(made: Certificates) -> None:
    """Nor are versions of TLS before 1.2."""
    async with serving(tls=made.server_tls()) as server:
        assert "Socket closed" in await outcome(server.address, None)
        assert await handshake(server, made, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        # The server's word for it, or the reset that follows on its heels.
        with pytest.raises((ssl.SSLError, ConnectionResetError), match=r"TLSV1_ALERT_PROTOCOL_VERSION|^$"):
            await handshake(server, made, ssl.TLSVersion.TLSv1_1)


async def handshake(server: Serving, made: Certificates, newest: ssl.TLSVersion) -> str:
    """The version that is agreed upon with a client whose newest is this."""
    context = ssl.create_default_context(cafile=str(made.ca))
    context.minimum_version = context.maximum_version = newest
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", int(server.address.rpartition(":")[2]), ssl=context)
    version = str(writer.get_extra_info("ssl_object").version())
    writer.close()
    return version


async def test_a_servicer_sees_the_names_in_a_verified_certificate(made: Certificates, tmp_path: Path) -> None:
    """At the address for callers with certificates, which lets nobody else in; the other address goes on as ever."""
    other = Certificates(tmp_path / "theirs", "another authority")
    servicer = Asking(nothing)
    async with serving(tls=made.server_tls(mtls=True), servicer=servicer) as server:
        mtls = server.server.mtls_address
        for uri in (NODE_URI, METER_URI):
            assert await outcome(mtls, made.credentials(made.client(uri))) == ""
        assert servicer.uris == [(NODE_URI,), (METER_URI,)]
        stranger = other.client()
        for refused in (None, made.server(), stranger):
            assert await outcome(mtls, made.credentials(refused)) != ""
        assert await outcome(mtls, None) != ""
        assert await outcome(server.address, made.credentials()) == ""
    assert servicer.uris == [(NODE_URI,), (METER_URI,), ()]


async def test_a_replaced_certificate_breaks_no_stream(made: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams go on over their connections; whoever connects from now on is shown the new one."""
    monkeypatch.setattr(tallygate._pem, "CHECK_INTERVAL_NS", 0)
    files = made.server()
    async with serving(tls=made.server_tls(pair=files)) as server, AsyncExitStack() as stack:
        channels = [channel_to(server.address, made.credentials()) for _ in range(STREAMS // 4)]
        for channel in channels:
            await stack.enter_async_context(channel)
        calls = [metering_service_pb2_grpc.MeteringServiceStub(each).Meter() for each in channels * 4]
        await answered(calls, 1)
        assert await shown_by(server.address, made) == files.certificate.read_text()
        replaced = made.authority.server(HOSTS, made.now)
        files.write(replaced)
        assert await shown_by(server.address, made) == replaced.certificate.decode()
        await answered(calls, 2)
        await broken_files_change_nothing(server, made, files)
        await answered(calls, 3)
        for call in calls:
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK


async def broken_files_change_nothing(server: Serving, made: Certificates, files: PairFiles) -> None:
    before = files.certificate.read_text()
    files.certificate.write_text("half of it")
    assert await shown_by(server.address, made) == before
    assert server.server.certificates is not None
    assert server.server.certificates.failed_reads > 0


async def test_a_server_that_begins_again_does_so_with_what_was_whole(made: Certificates) -> None:
    """As a node does that begins another epoch, while its files are half-written."""
    files = made.server()
    tls = made.server_tls(pair=files)
    certificates = ServerCertificates(tls)
    first = files.certificate.read_text()
    files.certificate.write_text("half of it")
    with pytest.raises(ConfigurationError, match="holds no certificate"):
        async with serving(tls=tls):
            pass
    async with serving(tls=tls, certificates=certificates) as server:
        assert await shown_by(server.address, made) == first


async def answered(calls: list[Any], sequence: int) -> None:
    """Every stream takes one more message, and answers it."""

    async def one(call: Any) -> int:
        await call.write(metering_service_pb2.MeterRequest(first_sequence=sequence))
        return int((await call.read()).answered_through)

    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.gather(*map(one, calls)) == [sequence] * len(calls)


async def test_replaced_authorities_let_in_whom_they_issued(
    made: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no longer those whose authority is gone."""
    monkeypatch.setattr(tallygate._pem, "CHECK_INTERVAL_NS", 0)
    other = Certificates(tmp_path / "theirs", "another authority")
    ours, theirs = made.credentials(made.client()), made.credentials(other.client())
    async with serving(tls=made.server_tls(mtls=True)) as server:
        mtls = server.server.mtls_address
        assert await outcome(mtls, ours) == ""
        assert await outcome(mtls, theirs) != ""
        made.ca.write_bytes(other.ca.read_bytes())
        assert await outcome(mtls, ours) != ""
        assert await outcome(mtls, theirs) == ""
