"""The annotations hold on real servers: what lacks a REQUIRED field is refused, what lacks an OPTIONAL one is not."""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.api.errors import translate
from metering_service.api.recovery_servicer import RecoveryServicer
from metering_service.api.usage_servicer import UsageServicer
from metering_service.domain.counts import ZERO
from metering_service.domain.denial_log import DenialLog
from metering_service.storage import SqlRecorder, SqlRecoveryStore, SqlUsageReader
from metering_service.usecases.ports import Running
from tallygate._server.grpc.server import GrpcServer
from tallygate.metering.v1 import (
    decision_pb2,
    metering_service_pb2,
    metering_service_pb2_grpc,
    recovery_service_pb2_grpc,
    usage_service_pb2_grpc,
)
from tests.harness.metering.node_harness import Fleet
from tests.harness.metering.services import with_trial
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.contract_files import behaviour, methods, reachable
from tests.harness.wire.control_fleet import running_control
from tests.harness.wire.metering_node import serving_node
from tests.harness.wire.request_samples import CONTROL_REQUESTS, DATABASE_REQUESTS, REPORT_REQUESTS, SERVICE
from tests.harness.wire.scripted_server import METERING

INVALID_REPORT = decision_pb2.DECISION_REASON_INVALID_REPORT
IT_DEPENDS = {
    "tallygate.control.v1.TrialOffer.quota_tokens",
    "tallygate.control.v1.KeyScope.all_services",
    "tallygate.control.v1.KeyScope.all_models",
    "tallygate.control.v1.CreateAccessTokenRequest.service_account",
    "tallygate.control.v1.ListAccessTokensRequest.service_account",
    "tallygate.control.v1.LeaseStatement.inference_service",
    "tallygate.control.v1.LeaseStatement.inference_service_uid",
    "tallygate.control.v1.LeaseStatement.limit_pot",
    "tallygate.control.v1.LeaseTotal.inference_service",
    "tallygate.control.v1.LeaseTotal.inference_service_uid",
    "tallygate.control.v1.LeaseTotal.limit_pot",
    "tallygate.control.v1.ListRateRulesRequest.account",
}
"""OPTIONAL fields that some callers must set: UpdateModel withdraws an offer whose quota is zero, which CreateModel
refuses; a key's scope has all services or some, likewise of models; only persons have tokens without a service account;
leases name the service that a payer pays for, or the pot of a limit; and a model's rules are in no account."""


@dataclass(frozen=True)
class Lacking:
    """A request without one of its fields. `path`: the field, from the request on; `field`: its full name."""

    request: Message
    path: str
    field: str
    is_required: bool


def lacking(request: Message) -> Iterator[Lacking]:
    """The request without each of the fields that it has, also without those of messages within it."""
    for steps, path, field in _fields(request, (), ""):
        copy = type(request)()
        copy.CopyFrom(request)
        owner: Any = copy
        for step in steps:
            owner = owner[step] if isinstance(step, int) else getattr(owner, step)
        owner.ClearField(field.name)
        yield Lacking(copy, path, field.full_name, behaviour(field) == "REQUIRED")


def _fields(
    message: Message, steps: tuple[str | int, ...], prefix: str
) -> Iterator[tuple[tuple[str | int, ...], str, Any]]:
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.containing_oneof is None or len(field.containing_oneof.fields) == 1:  # else another has its place
            yield steps, path, field
        kind = field.message_type
        if kind is None or kind.GetOptions().map_entry or not kind.full_name.startswith("tallygate."):
            continue
        if field.is_repeated:
            for index, element in enumerate(value):
                yield from _fields(element, (*steps, field.name, index), f"{path}[{index}].")
        else:
            yield from _fields(value, (*steps, field.name), f"{path}.")


async def refused_fields(channel: grpc.aio.Channel, method: MethodDescriptor, request: Message) -> list[str] | None:
    """The fields that INVALID_ARGUMENT names; None where the call did not fail with that."""
    name = f"/{method.containing_service.full_name}/{method.name}"
    data = request.SerializeToString()
    try:
        if method.client_streaming:
            stream: Any = channel.stream_stream(name)(timeout=PATIENCE_S)
            await stream.write(data)
            await stream.read()
            stream.cancel()
        else:
            call: Any = channel.unary_unary(name)
            await call(data, timeout=PATIENCE_S)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            return None
        status = rpc_status.from_call(error)
        assert status is not None
        bad = BadRequest()
        assert any(detail.Unpack(bad) for detail in status.details)
        return [violation.field for violation in bad.field_violations]
    return None


async def wrong_annotations(
    channel: grpc.aio.Channel, calls: Iterable[MethodDescriptor], requests: Iterable[Message]
) -> list[str]:
    """What the server makes of each request, whole and without each field, where the annotations say otherwise."""
    of_type = {method.input_type.full_name: method for method in calls}
    wrong: list[str] = []
    for request in requests:
        method = of_type[request.DESCRIPTOR.full_name]
        for case in lacking(request):
            refused = await refused_fields(channel, method, case.request)
            names_it = any(
                path == case.path or path.startswith((f"{case.path}.", f"{case.path}[")) for path in refused or ()
            )
            if case.field in IT_DEPENDS:
                continue
            if names_it != case.is_required or (refused is not None and not case.is_required):
                wrong.append(f"{method.name} without {case.path}: {refused}")
        if (refused := await refused_fields(channel, method, request)) is not None:
            wrong.append(f"{method.name}: {refused}")
    return wrong


def required_fields(calls: Iterable[MethodDescriptor]) -> set[str]:
    """Every field that is REQUIRED in what these methods take, by its full name."""
    return {
        field.full_name
        for message in reachable(method.input_type for method in calls)
        for field in message.fields
        if behaviour(field) == "REQUIRED"
    }


def tried(requests: Iterable[Message]) -> set[str]:
    return {case.field for request in requests for case in lacking(request) if case.is_required}


def of_service(*prefixes: str) -> list[MethodDescriptor]:
    return [method for method in methods() if method.full_name.startswith(prefixes)]


SAID_LATER = {
    *(f"tallygate.control.v1.TokenProof.{name}" for name in ("token_id", "token_sha256")),
    *(f"tallygate.metering.v1.ProgressColumns.{name}" for name in ("handles", "output_tokens")),
}
"""Fields of messages that follow the first one of a stream; test_fleet_credentials.py and test_meter_hostile.py leave
them out."""
CONTROL = of_service("tallygate.control.")
REPORTS = of_service(METERING)
DATABASE = [
    method for method in of_service("tallygate.metering.") if method not in REPORTS and method.input_type.fields
]
"""Calls that name something, which the database is asked about."""


def test_every_required_field_is_tried() -> None:
    """Each method has a sample, and each field that is REQUIRED is left out of one."""
    for calls, requests in ((CONTROL, CONTROL_REQUESTS), (DATABASE, DATABASE_REQUESTS), (REPORTS, REPORT_REQUESTS)):
        assert {method.input_type for method in calls} == {request.DESCRIPTOR for request in requests}
        assert required_fields(calls) - SAID_LATER == tried(requests)


async def test_control_refuses_what_lacks_a_required_field(tmp_path: Path) -> None:
    """INVALID_ARGUMENT names it; a request that lacks an optional field, or nothing, is never INVALID_ARGUMENT."""
    async with running_control(tmp_path) as control:
        await control.stock()
        await control.create_service(SERVICE)
        assert await wrong_annotations(control.channel, CONTROL, CONTROL_REQUESTS) == []


@pytest.fixture
async def metering_channel(metering_database: AsyncEngine) -> AsyncIterator[grpc.aio.Channel]:
    """UsageService and RecoveryService over an empty database."""

    def add(server: grpc.aio.Server) -> None:
        usage = UsageServicer(
            SqlUsageReader(metering_database), lambda _services, _scope: Running(0, ZERO), lambda: 0, DenialLog(0)
        )
        recovery = RecoveryServicer(
            SqlRecoveryStore(metering_database, SqlRecorder(metering_database, lambda: "id")), lambda: "id"
        )
        usage_service_pb2_grpc.add_UsageServiceServicer_to_server(usage, server)
        recovery_service_pb2_grpc.add_RecoveryServiceServicer_to_server(recovery, server)

    server = GrpcServer(listen="127.0.0.1:0", insecure=False, service_names=[], add_servicers=add, translate=translate)
    async with grpc.aio.insecure_channel(await server.start()) as channel:
        yield channel
    await server.stop(0)


async def test_metering_refuses_what_lacks_a_required_field(metering_channel: grpc.aio.Channel) -> None:
    """The same of what its database answers."""
    assert await wrong_annotations(metering_channel, DATABASE, DATABASE_REQUESTS) == []


async def decided(channel: grpc.aio.Channel, request: Message) -> "decision_pb2.DecisionReason.ValueType":
    """Why the report in a request was refused; 0 where it was not."""
    stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
    if isinstance(request, metering_service_pb2.MeterRequest):
        stream: Any = stub.Meter(timeout=PATIENCE_S)
        await stream.write(request)
        decisions: list[decision_pb2.Decision] = []
        while not decisions:
            decisions = list((await stream.read()).decisions)
        stream.cancel()
        return decisions[0].reason
    call: Any = stub.Report if isinstance(request, metering_service_pb2.ReportRequest) else stub.Authorize
    response: metering_service_pb2.AuthorizeResponse = await call(request, timeout=PATIENCE_S)
    return response.decision.reason


async def test_a_report_that_lacks_a_required_field_is_invalid() -> None:
    """A decision says so, and the call does not fail; one without a report does."""
    fleet = Fleet()
    with_trial(fleet, 1_000)
    async with serving_node(fleet["a"]) as serving:
        for request in REPORT_REQUESTS:
            for case in lacking(request):
                if case.path == "report":
                    method = next(one for one in REPORTS if one.input_type == case.request.DESCRIPTOR)
                    assert await refused_fields(serving.channel, method, case.request) == ["report"]
                elif case.is_required:
                    assert await decided(serving.channel, case.request) == INVALID_REPORT, case.path
