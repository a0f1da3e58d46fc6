"""What a failed call says to machines."""

from dataclasses import dataclass

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status


@dataclass(frozen=True, slots=True)
class Failure:
    """`reason` is a name of the service's ErrorReason without its prefix; empty where the call has none.

    `violations` are pairs of a field's path and what is wrong with it. `resource` is what there is not, or is already.
    """

    reason: str = ""
    violations: tuple[tuple[str, str], ...] = ()
    resource: str = ""


def decode_failure(error: grpc.RpcError) -> Failure:
    """The details of a failed call; of one that failed on its way there are none."""
    status = rpc_status.from_call(error)
    info, request = ErrorInfo(), BadRequest()
    for detail in status.details if status is not None else ():
        _ = detail.Unpack(info) or detail.Unpack(request)
    violations = tuple((each.field, each.description) for each in request.field_violations)
    return Failure(info.reason, violations, info.metadata.get("resource", ""))
