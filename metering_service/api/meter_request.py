"""Reads the messages of a Meter stream so that a report which cannot be read does not take its neighbours along."""

from typing import Any, Final, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from metering_service.domain.report import echo
from tallygate._server.grpc.unreadable import as_bytes, explain
from tallygate.metering.v1.columns_pb2 import ProgressColumns
from tallygate.metering.v1.metering_service_pb2 import MeterRequest
from tallygate.metering.v1.report_pb2 import TokenReport

REPORTS_PER_MESSAGE_MAX: Final = 4_096
EXPLAINED_MAX: Final = 64
"""Of one message: to look for what is wrong takes time, which other streams wait for."""
UNEXPLAINED: Final = "This report cannot be read; what is wrong with the first ones of this message is said there."


class UnreadableReport(NamedTuple):
    """Stands for a report that is none: what a session reads of it before it asks for the rest, and what is wrong."""

    request_id: str
    problem: str
    phase: int = 0
    service: str = ""


class PartlyReadable(NamedTuple):
    """A MeterRequest some of whose reports cannot be read."""

    first_sequence: int
    reports: list[Any]
    """Each a TokenReport or an UnreadableReport."""
    columns: ProgressColumns


def decode_meter_request(data: bytes) -> MeterRequest | PartlyReadable:
    """A message of the stream. Raises DecodeError where its reports cannot be told apart or its columns not read."""
    try:
        return MeterRequest.FromString(data)
    except DecodeError:
        return _each_by_itself(_Envelope.FromString(data))


def _each_by_itself(envelope: Any) -> PartlyReadable:
    reports: list[Any] = []
    explained = 0
    # With one report too many the message is refused, however many more there are.
    for data in envelope.reports[: REPORTS_PER_MESSAGE_MAX + 1]:
        try:
            reports.append(TokenReport.FromString(data))
        except DecodeError:
            reports.append(_unreadable(data) if explained < EXPLAINED_MAX else UnreadableReport("", UNEXPLAINED))
            explained += 1
    return PartlyReadable(envelope.first_sequence, reports, ProgressColumns.FromString(envelope.columns))


def _unreadable(data: bytes) -> UnreadableReport:
    path, what = explain(TokenReport.DESCRIPTOR, data)
    return UnreadableReport(_request_id(data), f"{path or 'This report'} {what}.")


def _request_id(data: bytes) -> str:
    """As much of its id as can be shown; nothing where the report is garbled."""
    try:
        report: Any = as_bytes(TokenReport.DESCRIPTOR).FromString(data)
    except DecodeError:
        return ""
    return echo(report.request_id.decode(errors="replace"))


def _make_envelope() -> Any:
    """The message MeterRequest with its messages as bytes, so that each can be read by itself."""
    file = descriptor_pb2.FileDescriptorProto(name="envelope.proto", syntax="proto3")
    message = file.message_type.add()
    MeterRequest.DESCRIPTOR.CopyToProto(message)
    for field in message.field:
        if field.type == descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE:
            field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(message.name))


_Envelope: Final = _make_envelope()
