"""A tenant that tries what it can with another one's words, where it may do anything: in an account of its own."""

from collections.abc import Iterator
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tallygate.control.v1 import limit_config_pb2
from tallygate.control.v1 import limit_service_pb2 as limits
from tallygate.control.v1 import token_service_pb2 as tokens
from tallygate.metering.v1 import metering_service_pb2 as metering
from tallygate.metering.v1 import report_pb2
from tests.harness.patience import PATIENCE_S
from tests.harness.tenants.marks import MARK, ghost_of
from tests.harness.tenants.onlooker import nothing_of
from tests.harness.tenants.tenant import AUTHORIZE, FINISH, MODEL, Tenant
from tests.harness.tenants.town import METHODS, Answer, Town

METER: Final = "/tallygate.metering.v1.MeteringService/Meter"


def intrude(own: Tenant, other: Tenant, number: int) -> None:
    """Tries it all; nothing comes back, and each call ends as it would with words that nobody has."""
    for request in _changes(own, other, number):
        data, method = request.SerializeToString(), METHODS[request.DESCRIPTOR.full_name]
        answer = own.town.ask(method, data, own.owner)
        nothing_of(other, data, answer, method.name)
        ghost = own.town.ask(method, ghost_of(data), own.owner)
        assert answer.code is ghost.code, f"{method.name} tells whether it is there: {answer} {ghost}"
    reports = list(_reports(own, other, number))
    said = metering.MeterRequest(first_sequence=1, reports=reports)
    answers = [stream(own.town, data, own.meter) for data in (said.SerializeToString(), _ghost(said))]
    nothing_of(other, said.SerializeToString(), answers[0], "Meter")
    assert answers[0].code is answers[1].code
    for report in reports:
        for request in (metering.AuthorizeRequest(report=report), metering.ReportRequest(report=report)):
            data, method = request.SerializeToString(), METHODS[request.DESCRIPTOR.full_name]
            nothing_of(other, data, own.town.ask(method, data, own.meter), method.name)


def stream(town: Town, message: bytes, token: str) -> Answer:
    """One message on a stream of its own, and what comes until all of it is answered, or the stream ends."""
    channel: Any = town.node
    metadata = (("authorization", f"Bearer {token}"),)
    call = channel.stream_stream(METER)(iter([message]), metadata=metadata, timeout=PATIENCE_S)
    heard = []
    try:
        heard += list(call)
    except grpc.RpcError as error:
        heard.append(str(error).encode())
    return Answer(call.code(), b"", b"\n".join(heard))


def _ghost(message: Message) -> bytes:
    return ghost_of(message.SerializeToString())


def _changes(own: Tenant, other: Tenant, number: int) -> Iterator[Message]:
    robot = other.pick("tallygate/ServiceAccount", number)
    member = f"serviceAccount:{robot}"
    yield access.CreateBindingRequest(scope=own.name, member=member, role=role_pb2.ROLE_VIEWER)
    yield access.ListBindingsRequest(scope=own.name, member=member)
    yield access.DisablePrincipalRequest(member=member)
    yield access.EnablePrincipalRequest(member=member)
    for scope in (other.name, other.pick("tallygate/Team", number)):
        mine = own.words["tallygate/ServiceAccount"][0]
        yield tokens.CreateAccessTokenRequest(
            service_account=mine, narrowed_role=role_pb2.ROLE_VIEWER, narrowed_scope=scope
        )
    for place in (other.name, other.pick("tallygate/Team", number), other.pick("tallygate/InferenceService", number)):
        rule = f"{own.name}/rateRules/{own.mark()}"
        requests = limit_config_pb2.RATE_METRIC_REQUESTS
        yield limits.CreateRateRuleRequest(name=rule, place=place, metric=requests, limit_units=1)
    service_id = other.pick("tallygate/InferenceService", number).rpartition("/")[2]
    team_id = other.words["team"][-1]
    yield lifecycle.CreateInferenceServiceRequest(name=f"{own.name}/services/{own.mark()}", model=MODEL, team=team_id)
    yield lifecycle.GetInferenceServiceRequest(name=f"{own.name}/services/{service_id}")
    yield lifecycle.UpdateInferenceServiceRequest(name=own.pick("tallygate/InferenceService", 0), team=team_id)
    for key in [one.idempotency_key for one in other.said if isinstance(one, lifecycle.UpdateInferenceServiceRequest)]:
        name = own.pick("tallygate/InferenceService", 0)
        yield lifecycle.UpdateInferenceServiceRequest(name=name, display_name=own.mark(), idempotency_key=key)


def _reports(own: Tenant, other: Tenant, number: int) -> Iterator[report_pb2.TokenReport]:
    """Of its own service by the other's ids and resume tokens, and of the other's service."""
    if not other.words["request_id"]:
        return
    request_id = other.pick("request_id", number)
    resumes = [piece for piece in other.resume_tokens if not MARK.search(piece)][-1:]
    for service in (own.pick("tallygate/InferenceService", 0), other.pick("tallygate/InferenceService", number)):
        for phase in (AUTHORIZE, FINISH):
            for resume in (b"", *resumes):
                yield report_pb2.TokenReport(request_id=request_id, service=service, phase=phase, resume=resume)
