"""A person signs in: from a real provider's pages, through control, to calls that are allowed or not."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from control_service.bootstrap import Access
from control_service.oidc.issuer import Issuer
from control_service.storage.database import SqlDatabase
from control_service.usecases.resolve_credential import Credentials
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tallygate._access.token_text import read_token
from tallygate._server.clock import ManualClock
from tallygate._server.database.engine import create_engine
from tallygate.cli.app import app
from tallygate.cli.oidc_login import sign_in
from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import token_service_pb2 as pb
from tallygate.control.v1 import token_service_pb2_grpc
from tests.harness.control.access import SEAL, bound, store
from tests.harness.control.oidc_harness import FakeIssuer
from tests.harness.oidc_provider import Browser, OidcProvider, running_provider
from tests.harness.ports import held_port
from tests.harness.wire.callers import OPERATOR_TOKEN, calling
from tests.harness.wire.control_failures import failure
from tests.harness.wire.control_fleet import Control, running_control

# The provider uses what its own libraries warn of.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    """A provider with one user in a group."""
    with running_provider() as provider:
        provider.add_user("ada", name="Ada L.", groups=["ops"])
        yield provider


@asynccontextmanager
async def knowing(directory: Path, *issuers: Issuer) -> AsyncIterator[Control]:
    """A control that asks for proof, and at which people sign in."""
    operator = read_token(OPERATOR_TOKEN)
    credentials = Credentials(SEAL, operator, issuer_scopes={issuer.url: issuer.scope for issuer in issuers})
    access = Access(credentials, asks_for_proof=True, issuers=issuers)
    async with running_control(directory, access=access) as control:
        yield control


async def signed_in(control: Control, subject: str = "ada") -> pb.ExchangeTokenResponse:
    tokens = token_service_pb2_grpc.TokenServiceStub(control.channel)
    (option,) = (await tokens.GetSignInOptions(pb.GetSignInOptionsRequest())).issuers
    browser = Browser(subject)
    id_token = sign_in(option, browser.open)
    browser.close()
    response: pb.ExchangeTokenResponse = await tokens.ExchangeToken(pb.ExchangeTokenRequest(id_token=id_token))
    return response


async def test_a_person_signs_in_and_calls(provider: OidcProvider, tmp_path: Path) -> None:
    """With what is bound to the person's group, within the scope of the issuer, and nothing else."""
    async with knowing(tmp_path, Issuer(provider.url, "tallygate", Scope("acme"))) as control:
        engine = create_engine(f"sqlite:///{tmp_path / 'control.sqlite3'}")
        async with SqlDatabase(engine).writing() as tx:
            for account in ("acme", "other"):
                await store(tx, bound(f"group:{provider.url}#ops", Role.VIEWER, Scope(account)))
        await engine.dispose()
        async with calling(control.address, OPERATOR_TOKEN) as operator:
            for account in ("acme", "other"):
                await operator.accounts.CreateAccount(accounts.CreateAccountRequest(name=f"accounts/{account}"))
        exchanged = await signed_in(control)
        assert exchanged.member == exchanged.access_token.owner == f"person:{provider.url}#ada"
        token = exchanged.access_token
        assert (token.signed_in, token.expire_time.seconds - token.create_time.seconds) == (True, 900)
        async with calling(control.address, exchanged.secret) as ada:
            found = await ada.accounts.GetAccount(accounts.GetAccountRequest(name="accounts/acme"))
            assert found.account.name == "accounts/acme"
            top_up = accounts.TopUpAccountRequest(name="accounts/acme", amount_nanos=1)
            assert (await failure(ada.accounts.TopUpAccount(top_up))).code is grpc.StatusCode.PERMISSION_DENIED
            beyond = accounts.GetAccountRequest(name="accounts/other")
            assert (await failure(ada.accounts.GetAccount(beyond))).code is grpc.StatusCode.NOT_FOUND


async def test_refusals_on_the_wire(provider: OidcProvider, tmp_path: Path) -> None:
    """UNAUTHENTICATED with a reason for what proves nothing; UNAVAILABLE where nobody can tell."""
    async with knowing(tmp_path, Issuer(provider.url, "tallygate", Scope("acme"))) as control:
        tokens = token_service_pb2_grpc.TokenServiceStub(control.channel)
        browser = Browser("ada")
        id_token = sign_in(
            pb.SignInIssuer(
                issuer=provider.url,
                client_id="tallygate",
                authorization_endpoint=f"{provider.url}/oauth2/authorize",
                token_endpoint=f"{provider.url}/oauth2/token",
                scopes=["openid"],
            ),
            browser.open,
        )
        browser.close()
        provider.stop()
        for text, code, reason in (
            ("", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
            ("a.b.c", grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID"),
            ("x" * 20_000, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
            (id_token, grpc.StatusCode.UNAVAILABLE, "ISSUER_UNAVAILABLE"),
        ):
            refused = await failure(tokens.ExchangeToken(pb.ExchangeTokenRequest(id_token=text)))
            assert (refused.code, refused.reason) == (code, reason)
            assert not text or text not in refused.message
        refused = await failure(tokens.GetSignInOptions(pb.GetSignInOptionsRequest()))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "ISSUER_UNAVAILABLE")


async def test_a_control_without_issuers(tmp_path: Path) -> None:
    """Says that there is no way to sign in, and takes no id token."""
    async with knowing(tmp_path) as control:
        tokens = token_service_pb2_grpc.TokenServiceStub(control.channel)
        assert not (await tokens.GetSignInOptions(pb.GetSignInOptionsRequest())).issuers
        issuer = FakeIssuer(ManualClock())
        refused = await failure(tokens.ExchangeToken(pb.ExchangeTokenRequest(id_token=issuer.token())))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


async def test_the_command_logs_in(provider: OidcProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the browser, which comes back to the port that was chosen."""
    browser = Browser("ada")
    monkeypatch.setenv("TALLYGATE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setattr("webbrowser.open", browser.open)
    port = held_port()
    async with knowing(tmp_path, Issuer(provider.url, "tallygate", PLATFORM)) as control:
        arguments = ["login", "--control", control.address, "--callback-port", str(port)]
        said = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    browser.close()
    assert said.exit_code == 0, said.output
    redeemed = [form["redirect_uri"] for path, form in provider.requests if path == "/oauth2/token"]
    assert redeemed == [f"http://127.0.0.1:{port}/callback"]
