"""What a call to the control service failed with, as a client reads it."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure
from grpc_status import rpc_status


@dataclass(frozen=True)
class Failure:
    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    fields: list[str]
    preconditions: list[str]


async def failure(call: Awaitable[Any]) -> Failure:
    """The failure of a call that must fail, with its details unpacked."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info, bad, precondition = ErrorInfo(), BadRequest(), PreconditionFailure()
    for detail in status.details:
        for message in (info, bad, precondition):
            detail.Unpack(message)
    assert info.domain == "tallygate"
    return Failure(
        code=caught.value.code(),
        message=status.message,
        reason=info.reason,
        metadata=dict(info.metadata),
        fields=[violation.field for violation in bad.field_violations],
        preconditions=[violation.type for violation in precondition.violations],
    )
