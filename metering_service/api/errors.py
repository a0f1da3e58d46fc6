"""What this service's errors are on the wire."""

from typing import Final

import grpc

from metering_service.domain.errors import (
    InvalidQuery,
    NodeFenced,
    Overloaded,
    RecordNotFound,
    SequenceGap,
    StorageUnavailable,
)
from tallygate._server.grpc.failures import VIOLATIONS_MAX, RpcFailure

RETRY_AFTER_MS: Final = 1_000


def translate(error: Exception) -> RpcFailure | None:
    """The failure that a caller sees; None for what is a mistake of ours."""
    message = str(error)
    match error:
        case InvalidQuery():
            told = error.violations[:VIOLATIONS_MAX]
            return RpcFailure(
                grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", str(InvalidQuery(*told)), violations=told
            )
        case SequenceGap():
            expected_and_actual = {"expected": str(error.expected), "actual": str(error.actual)}
            return RpcFailure(grpc.StatusCode.INVALID_ARGUMENT, "SEQUENCE_GAP", message, expected_and_actual)
        case RecordNotFound():
            resource = {"resource": error.resource}
            return RpcFailure(grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", message, resource)
        case StorageUnavailable() | Overloaded():
            reason = "OVERLOADED" if isinstance(error, Overloaded) else "STORAGE_UNAVAILABLE"
            return RpcFailure(grpc.StatusCode.UNAVAILABLE, reason, message, retry_after_ms=RETRY_AFTER_MS)
        case NodeFenced():
            return RpcFailure(grpc.StatusCode.UNAVAILABLE, "NODE_UNAVAILABLE", message)
    return None
