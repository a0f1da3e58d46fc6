"""An RPC that failed, as the contract says it: a code, a reason from a documented enum, and details for machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status
from typing_extensions import override

from tallygate._server.grpc.message_size import fitting

ERROR_DOMAIN: Final = "tallygate"
# Details travel in the trailers, which clients cap at 8 KiB: a longer failure would be another one, RESOURCE_EXHAUSTED.
VIOLATIONS_MAX: Final = 16
VIOLATIONS_BYTES_MAX: Final = 3_000
MESSAGE_BYTES_MAX: Final = 1_000
METADATA_BYTES_MAX: Final = 256
RETRY_AFTER_MS: Final = 1_000
"""For what may work later by itself, where nobody knows when."""


@dataclass(eq=False)  # An exception is itself, not its value; the interpreter writes to it, so it cannot be frozen.
class RpcStatusError(Exception):
    """What api/ makes of a domain error; the guard makes a gRPC status of it.

    `reason` is a name of the service's ErrorReason enum without its prefix. `violations` are pairs of a field's path
    and what is wrong with it. `retry_after_ms` is given where the same call may work later by itself.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[tuple[str, str]] = ()
    retry_after_ms: int | None = None

    @override
    def __str__(self) -> str:
        return self.message


def status_of(failure: RpcStatusError) -> Status:
    """The failure as google.rpc.Status with its details."""
    number, _ = failure.code.value
    message = _cut(failure.message, MESSAGE_BYTES_MAX)
    return Status(code=number, message=message, details=[_packed(detail) for detail in _details(failure)])


def _details(failure: RpcStatusError) -> list[Message]:
    metadata = {key: _cut(value, METADATA_BYTES_MAX) for key, value in failure.metadata.items()}
    details: list[Message] = [ErrorInfo(reason=failure.reason, domain=ERROR_DOMAIN, metadata=metadata)]
    if failure.violations:
        violations = [
            BadRequest.FieldViolation(field=path, description=description)
            for path, description in failure.violations[:VIOLATIONS_MAX]
        ]
        details.append(BadRequest(field_violations=fitting(violations, lambda each: each, VIOLATIONS_BYTES_MAX)))
    if failure.code is grpc.StatusCode.FAILED_PRECONDITION:
        violation = PreconditionFailure.Violation(
            type=failure.reason,
            subject=next(iter(metadata.values()), ""),
            description=_cut(failure.message, MESSAGE_BYTES_MAX),
        )
        details.append(PreconditionFailure(violations=[violation]))
    if failure.retry_after_ms is not None:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(failure.retry_after_ms)
        details.append(retry)
    return details


def _cut(text: str, bytes_max: int) -> str:
    """As much of a text as fits, with three dots where that is not all of it."""
    encoded = text.encode()
    return text if len(encoded) <= bytes_max else encoded[: bytes_max - 3].decode(errors="ignore") + "..."


def _packed(detail: Message) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed
