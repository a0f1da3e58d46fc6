"""Callers of a node: what they present becomes a credential that control is asked about."""

import asyncio

import grpc
import pytest

from metering_service.api.authenticator import URIS_MAX, NodeAuthenticator, shown_by
from metering_service.domain.credential import Credential, CredentialState
from tallygate._access.token_text import ShownToken
from tallygate._server.grpc.caller import UNCHECKED, Caller
from tallygate._server.grpc.failures import RpcStatusError
from tests.harness.metering.credential_control import CredentialControl, meter_of

URI = "spiffe://example.org/tallygate/meter/acme"
TOKEN = ShownToken("a" * 24, b"hash")
PEER = "ipv4:192.0.2.1:4711"


@pytest.fixture
def control() -> CredentialControl:
    """One that knows a token and a certificate."""
    control = CredentialControl()
    control.put(Credential(TOKEN.token_id, TOKEN.sha256), meter_of("acme"))
    control.put(Credential(certificate_uri=URI), meter_of("acme"))
    return control


async def by_certificate(control: CredentialControl, *uris: str) -> Caller:
    """The caller with a certificate that has these URIs."""
    task = asyncio.create_task(NodeAuthenticator(control.credentials).by_certificate(uris, PEER))
    while not task.done():
        await asyncio.sleep(0)
        control.answer()
    return task.result()


async def test_a_caller_is_who_control_says(control: CredentialControl) -> None:
    """Member and rights are those of the credential, which is remembered with the caller."""
    task = asyncio.create_task(NodeAuthenticator(control.credentials).by_token(TOKEN, PEER))
    await asyncio.sleep(0)
    control.answer()
    caller = await task
    shown = shown_by(caller)
    assert (caller.member, caller.rights) == ("serviceAccount:one", meter_of("acme"))
    assert shown is not None
    assert (shown.credential, shown.peer) == (Credential(TOKEN.token_id, TOKEN.sha256), "192.0.2.1")
    assert shown_by(UNCHECKED) is None


async def test_the_first_uri_that_opens_something_decides(control: CredentialControl) -> None:
    """Those before it are no harm, and neither is one that is too long to be any."""
    caller = await by_certificate(control, "https://example.org", "x" * 600, URI)
    assert caller.rights == meter_of("acme")


async def test_a_certificate_without_any_right_is_refused(control: CredentialControl) -> None:
    """Also where a URI further on would open something: so many are looked at, and no more."""
    for uris in (("https://example.org",), (*map(str, range(URIS_MAX)), URI)):
        with pytest.raises(RpcStatusError) as refused:
            await by_certificate(control, *uris)
        assert (refused.value.code, refused.value.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


async def test_a_refusal_says_the_last_reason(control: CredentialControl) -> None:
    """A certificate whose principal was disabled is told so."""
    control.put(Credential(certificate_uri=URI), state=CredentialState.REVOKED)
    with pytest.raises(RpcStatusError) as refused:
        await by_certificate(control, URI)
    assert refused.value.reason == "CREDENTIAL_REVOKED"
