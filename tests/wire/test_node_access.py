"""Callers of a metering node on the wire: proof, rights, and streams that end with them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
import pytest_asyncio

from metering_service.api.authenticator import NodeAuthenticator
from metering_service.domain.counts import Counts
from metering_service.domain.credential import Credential, CredentialState
from metering_service.domain.report import Phase, Report
from metering_service.usecases.lookups.lookups import every
from metering_service.usecases.lookups.service_teams import ServiceTeams
from tallygate._access.rights import NO_RIGHTS, Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tallygate._access.token_text import ID_BYTES, SECRET_BYTES, read_token, token_id_of, token_text
from tallygate._server.grpc.gate import Gate, Refused
from tallygate._wire.failures import decode_failure
from tallygate.metering.v1 import decision_pb2, metering_service_pb2_grpc
from tallygate.metering.v1 import metering_service_pb2 as pb
from tests.harness.metering.credential_control import CredentialControl, meter_of
from tests.harness.metering.encoded_reports import encode_report
from tests.harness.metering.node_harness import Fleet, report
from tests.harness.metering.services import SERVICE, running, with_trial
from tests.harness.wire.metering_node import NodeServing, RawStream, serving_node

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
FOREIGN = "accounts/umbrella/services/chat"
ANSWER_S = 0.005
TEAM_RIGHTS = Rights((Right(Role.METER, Scope("acme", "red")),))


def a_token(number: int) -> str:
    """The text of some token."""
    return token_text(token_id_of(number.to_bytes(ID_BYTES, "big")), number.to_bytes(SECRET_BYTES, "big"))


def credential_of(text: str) -> Credential:
    """What control is asked of a token."""
    shown = read_token(text)
    assert shown is not None
    return Credential(shown.token_id, shown.sha256)


@dataclass
class Guarded:
    """A node that lets in who has proved who they are, the control service that it asks, and whom it has refused."""

    serving: NodeServing
    control: CredentialControl
    refused: list[Refused]

    @property
    def stub(self) -> "metering_service_pb2_grpc.MeteringServiceAsyncStub":
        stub: metering_service_pb2_grpc.MeteringServiceAsyncStub
        stub = metering_service_pb2_grpc.MeteringServiceStub(self.serving.channel)
        return stub

    def stream(self, token: str) -> RawStream:
        return self.serving.stream(*bearer(token))

    async def authorise(self, token: str, service: str = SERVICE, request_id: str = "r1") -> decision_pb2.Decision:
        request = pb.AuthorizeRequest(report=encode_report(report(AUTHORIZE, request_id, service=service)))
        return (await self.stub.Authorize(request, metadata=bearer(token))).decision


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def said(first: int, *reports: Report) -> pb.MeterRequest:
    return pb.MeterRequest(first_sequence=first, reports=[encode_report(one) for one in reports])


async def end_of(stream: RawStream) -> tuple[grpc.StatusCode, str]:
    """The status with which a stream ends, and the reason."""
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        while True:
            await stream.read()
    return ended.value.code(), decode_failure(ended.value).reason


@pytest_asyncio.fixture
async def it() -> AsyncIterator[Guarded]:
    """Control answers by itself; the first token may report for acme."""
    fleet = Fleet()
    with_trial(fleet, 1_000_000_000, team="red")
    fleet.control.put(running("accounts/acme/services/blue", trial_pays=True, team="blue"))
    fleet.control.put(running(FOREIGN, trial_pays=True))
    control, refused = CredentialControl(fleet.clock), list[Refused]()
    control.put(credential_of(a_token(1)), meter_of("acme"))
    gate = Gate(NodeAuthenticator(control.credentials), ServiceTeams(fleet["a"].node), refused.append)
    answering = asyncio.create_task(every(ANSWER_S, control.answer))
    async with serving_node(fleet["a"], gate) as serving:
        yield Guarded(serving, control, refused)
    answering.cancel()


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (CredentialState.UNKNOWN, "CREDENTIAL_INVALID"),
        (CredentialState.EXPIRED, "CREDENTIAL_EXPIRED"),
        (CredentialState.REVOKED, "CREDENTIAL_REVOKED"),
    ],
)
async def test_bad_credentials_open_nothing(it: Guarded, state: CredentialState, reason: str) -> None:
    """Neither a stream nor a call; the refusal names the reason, and is remembered with the method."""
    it.control.put(credential_of(a_token(2)), state=state)
    assert await end_of(it.stream(a_token(2))) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await it.authorise(a_token(2))
    assert (ended.value.code(), decode_failure(ended.value).reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    assert [one.method.partition("/")[2] for one in it.refused] == ["Meter", "Authorize"]
    assert it.serving.rig.node.services == {}


async def test_no_credential_is_told_what_to_bring(it: Guarded) -> None:
    """A stream without any is refused before its first message is looked at."""
    stream = it.serving.stream()
    assert await end_of(stream) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_MISSING")


async def test_a_right_proof_reports(it: Guarded) -> None:
    """By stream and by call; the foreign service is as none on the stream, and not found by call."""
    stream = it.stream(a_token(1))
    await stream.send(said(1, report(AUTHORIZE, "r1", Counts(5)), report(AUTHORIZE, "r1", service=FOREIGN)))
    allowed, foreign = sorted(await stream.until_answered(2), key=lambda decision: decision.sequence)
    assert allowed.verdict == decision_pb2.VERDICT_ALLOW
    assert foreign.reason == decision_pb2.DECISION_REASON_UNKNOWN_SERVICE
    assert (await it.authorise(a_token(1), request_id="r2")).verdict == decision_pb2.VERDICT_ALLOW
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await it.authorise(a_token(1), FOREIGN)
    assert ended.value.code() is grpc.StatusCode.NOT_FOUND
    assert FOREIGN not in it.serving.rig.node.services


async def test_a_caller_who_may_report_on_nothing_opens_no_stream(it: Guarded) -> None:
    """A right credential without the permission anywhere is denied it by name."""
    it.control.put(credential_of(a_token(2)), Rights((Right(Role.VIEWER, Scope("acme")),)))
    assert await end_of(it.stream(a_token(2))) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("state", "rights", "status", "reason"),
    [
        (CredentialState.REVOKED, NO_RIGHTS, grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_REVOKED"),
        (CredentialState.UNKNOWN, NO_RIGHTS, grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID"),
        (CredentialState.VALID, meter_of("umbrella"), grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    ],
)
async def test_a_stream_ends_with_its_rights(
    it: Guarded, state: CredentialState, rights: Rights, status: grpc.StatusCode, reason: str
) -> None:
    """At once and with the reason; what it had open waits for another stream, and calls are refused, too."""
    stream = it.stream(a_token(1))
    await stream.send(said(1, report(AUTHORIZE, "r1", Counts(5))))
    await stream.until_answered(1)
    it.control.put(credential_of(a_token(1)), rights, state)
    assert await end_of(stream) == (status, reason)
    (request,) = it.serving.rig.node.services[SERVICE].open.values()
    assert request in it.serving.rig.node.silent
    with pytest.raises(grpc.aio.AioRpcError):
        await it.authorise(a_token(1))


async def test_a_stream_whose_client_does_not_read_ends_as_well(it: Guarded) -> None:
    """Nothing that it says from then on counts, though it has not heard of it."""
    stream = it.stream(a_token(1))
    await stream.send(said(1, *(report(AUTHORIZE, f"r{number}", Counts(5)) for number in range(2_000))))
    await stream.until_answered(1)
    node = it.serving.rig.node
    it.control.put(credential_of(a_token(1)), state=CredentialState.REVOKED)
    assert all(request in node.silent for request in node.services[SERVICE].open.values())
    before = set(node.services[SERVICE].open)
    await stream.send(said(2_001, report(AUTHORIZE, "late")))
    assert (await end_of(stream))[0] is grpc.StatusCode.UNAUTHENTICATED
    assert set(node.services[SERVICE].open) == before


async def test_a_stream_that_may_go_on_does(it: Guarded) -> None:
    """More rights, and fewer that it does not use, change nothing."""
    it.control.put(credential_of(a_token(1)), meter_of("acme", "umbrella"))
    stream = it.stream(a_token(1))
    await stream.send(said(1, report(AUTHORIZE, "r1", Counts(5))))
    await stream.until_answered(1)
    it.control.put(credential_of(a_token(1)), meter_of("acme"))
    await stream.send(said(2, report(PROGRESS, "r1", Counts(5, output=1)), report(AUTHORIZE, "r2", service=FOREIGN)))
    (refused,) = (decision for decision in await stream.until_answered(3) if decision.sequence == 3)
    assert refused.reason == decision_pb2.DECISION_REASON_UNKNOWN_SERVICE


async def test_calls_of_a_team_are_let_in_on_its_services(it: Guarded) -> None:
    """A service that the node has not heard of is asked about first."""
    it.control.put(credential_of(a_token(2)), Rights((Right(Role.METER, Scope("acme", "red")),)))
    assert (await it.authorise(a_token(2))).verdict == decision_pb2.VERDICT_ALLOW
    for name in ("blue", "none"):
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await it.authorise(a_token(2), f"accounts/acme/services/{name}")
        assert ended.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await it.authorise(a_token(2), FOREIGN)
    assert ended.value.code() is grpc.StatusCode.NOT_FOUND


async def test_who_cannot_be_verified_may_try_again(it: Guarded) -> None:
    """Cut off from control the node lets in nobody whom it does not know; that says UNAVAILABLE, with a delay."""
    await it.authorise(a_token(1))
    it.control.disconnect()
    call = asyncio.create_task(it.authorise(a_token(3)))
    assert (await it.authorise(a_token(1), request_id="r2")).verdict == decision_pb2.VERDICT_ALLOW
    while not call.done():
        it.control.pass_time(0.1, heard=False)
        await asyncio.sleep(ANSWER_S)
    error = call.exception()
    assert isinstance(error, grpc.aio.AioRpcError)
    failure = decode_failure(error)
    assert (error.code(), failure.reason) == (grpc.StatusCode.UNAVAILABLE, "CREDENTIAL_UNVERIFIED")
    it.control.pass_time(60, heard=False)
    with pytest.raises(grpc.aio.AioRpcError):
        await it.authorise(a_token(1), request_id="r3")


@pytest.mark.parametrize(
    ("state", "rights"), [(CredentialState.REVOKED, TEAM_RIGHTS), (CredentialState.VALID, meter_of("umbrella"))]
)
async def test_what_changes_while_a_team_is_looked_up_counts(state: CredentialState, rights: Rights) -> None:
    """The gate has seen the rights before; the call is not served by them, and is to be repeated."""
    fleet, token = Fleet(), a_token(1)
    with_trial(fleet, 1_000_000, team="red")
    control = CredentialControl(fleet.clock)
    control.put(credential_of(token), TEAM_RIGHTS)

    class Teams:
        async def team_of_key(self, account_id: str, key_id: str) -> str:
            return await self.team_of(account_id, key_id)

        async def team_of(self, account_id: str, service_id: str) -> str:
            control.put(credential_of(token), rights, state)
            return "red"

    answering = asyncio.create_task(every(ANSWER_S, control.answer))
    async with serving_node(fleet["a"], Gate(NodeAuthenticator(control.credentials), Teams())) as serving:
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await Guarded(serving, control, []).authorise(token)
    answering.cancel()
    assert (ended.value.code(), decode_failure(ended.value).reason) == (
        grpc.StatusCode.UNAVAILABLE,
        "CREDENTIAL_UNVERIFIED",
    )
    assert SERVICE not in fleet["a"].node.services
