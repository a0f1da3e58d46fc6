"""TLS between real processes: both services, the command, a client, and grpcurl, by certificates of `tallygate tls`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tallygate._security import Security
from tallygate.client import MeteringClient
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import tallygate, up
from tests.harness.programs.programs import until_said
from tests.harness.programs.requests import begun
from tests.harness.programs.tls_fleet import TlsFleet, start_node, tls_fleet
from tests.harness.wire.grpcurl import grpcurl

MODELS = "tallygate.control.v1.CatalogService/ListModels"


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[TlsFleet]:
    async with tls_fleet(tmp_path) as fleet:
        yield fleet


async def test_a_fleet_speaks_tls_from_the_command_to_the_inference_server(fleet: TlsFleet) -> None:
    """Set up by commands, metered with a certificate, paid for; then all certificates are replaced, and it goes on."""
    fleet.open_shop()
    security = Security(fleet.file("ca"), fleet.file("meter"), fleet.file("meter-key"))
    async with MeteringClient(fleet.node.mtls_address, settings=PATIENT, security=security) as client:
        for turn in (1, 2):
            request = await begun(client, "accounts/acme/services/default-llama", input_tokens=10)
            request.output(5)
            request.finish()
            assert await request.wait_recorded() is not None, turn
            await replace_server_certificate(fleet)
    fleet.until_remain("49,970")


async def replace_server_certificate(fleet: TlsFleet) -> None:
    """For both services, with one of the same authority."""
    name = f"again{len(list(fleet.folder.iterdir()))}.example"
    made = tallygate("tls", "issue", str(fleet.folder), "--host", name)
    assert made.status == 0, made.err
    for ending in ("-key.pem", ".pem"):
        (fleet.folder / f"server-{name}{ending}").replace(fleet.folder / f"server{ending}")


async def test_grpcurl_needs_what_everybody_needs(fleet: TlsFleet) -> None:
    """The authority and a token at one address, a certificate at the other, where a token decides; else no answer."""
    known = ["-cacert", fleet.file("ca")]
    token = ["-H", f"authorization: Bearer {fleet.secrets.operator_token}"]
    shown = [*known, "-cert", fleet.file("node-metering-1"), "-key", fleet.file("node-metering-1-key")]
    control, mtls = fleet.control.address, fleet.control.mtls_address
    for address, tls, succeeds in (
        (control, [*known, *token], True),
        (mtls, shown, True),
        (mtls, [*shown, *token], True),
        (mtls, [*shown, "-H", "authorization: Bearer nonsense"], False),
        (control, known, False),
        (control, [*token, "-plaintext"], False),
        (control, [*token, "-cacert", fleet.file("meter")], False),
        (mtls, known, False),
    ):
        done = await grpcurl(address, MODELS, tls=tls if succeeds else ["-connect-timeout", "5", *tls])
        assert (done.exit_code == 0) is succeeds, (address, tls, done)


async def test_a_command_says_what_is_wrong(fleet: TlsFleet) -> None:
    """With TLS as with anything else: in one sentence."""
    for options, words in (
        ([], "breaks off each connection, as servers do that speak TLS only"),
        (["--ca", fleet.file("meter")], "shows a certificate that is not accepted"),
        (["--ca", f"{fleet.folder}/none.pem"], "none.pem cannot be read: No such file or directory."),
        (["--ca", fleet.file("meter-key")], "meter-key.pem holds no certificate in PEM form."),
        (["--cert", "c"], "--cert or TALLYGATE_CERT needs --key or TALLYGATE_KEY: "),
    ):
        done = tallygate(*options, "account", "show", "acme", "--control", fleet.control.address)
        assert done.status != 0
        text = " ".join(done.err.split())
        assert words in text
        assert "Traceback" not in text
    known = {"TALLYGATE_CA": fleet.file("ca"), "TALLYGATE_TOKEN_FILE": str(fleet.secrets.operator_token_file)}
    done = tallygate("account", "create", "acme", "--control", fleet.control.address, variables=known)
    assert done.status == 0, done.err


async def test_a_node_that_control_does_not_let_in_says_why(fleet: TlsFleet, tmp_path: Path) -> None:
    """And goes on trying."""
    directory = tmp_path / "stranger"
    directory.mkdir()
    link = ["--control-ca", fleet.file("ca"), "--node-name", "stranger"]
    starting = asyncio.create_task(start_node(fleet.folder, directory, fleet.control.mtls_address, *link))
    log = directory / "node.log"
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not log.exists():  # noqa: ASYNC110  # another process makes it
                await asyncio.sleep(0.05)
        await until_said(log, "breaks off each connection")
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


def test_up_serves_by_tls_where_the_environment_says_so(tmp_path: Path) -> None:
    """Both services, the way between them, and the way from the command."""
    assert tallygate("tls", "init", str(tmp_path / "tls")).status == 0
    tls = {"TALLYGATE_TLS_CERT": f"{tmp_path}/tls/server.pem", "TALLYGATE_TLS_KEY": f"{tmp_path}/tls/server-key.pem"}
    refused = tallygate("up", "--data-dir", str(tmp_path / "none"), variables=tls)
    assert "set TALLYGATE_CA, too" in " ".join(refused.err.split())
    known = {"TALLYGATE_CA": f"{tmp_path}/tls/ca.pem"}
    with up(tmp_path / "data", variables={**tls, **known}) as running:
        done = tallygate("account", "create", "acme", "--control", running.control, variables=known)
        assert done.status == 0, done.err
        assert "speak TLS only" in " ".join(
            tallygate("account", "show", "acme", "--control", running.control).err.split()
        )
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(PATIENCE_S) == 0
