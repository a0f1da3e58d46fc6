"""The errors of this service as gRPC statuses."""

import grpc

from metering_service.domain.errors import (
    InvalidRequestError,
    NodeFencedError,
    OverloadedError,
    RecordNotFoundError,
    SequenceGapError,
    StorageUnavailableError,
)
from tallygate._server.grpc.failures import RETRY_AFTER_MS, VIOLATIONS_MAX, RpcStatusError


def translate(error: Exception) -> RpcStatusError | None:
    """The failure that a caller sees; None for what is a mistake of ours."""
    message = str(error)
    match error:
        case InvalidRequestError():
            told = error.violations[:VIOLATIONS_MAX]
            return RpcStatusError(
                grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", str(InvalidRequestError(*told)), violations=told
            )
        case SequenceGapError():
            expected_and_actual = {"expected": str(error.expected), "actual": str(error.actual)}
            return RpcStatusError(grpc.StatusCode.INVALID_ARGUMENT, "SEQUENCE_GAP", message, expected_and_actual)
        case RecordNotFoundError():
            resource = {"resource": error.resource}
            return RpcStatusError(grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", message, resource)
        case StorageUnavailableError() | OverloadedError():
            reason = "OVERLOADED" if isinstance(error, OverloadedError) else "STORAGE_UNAVAILABLE"
            return RpcStatusError(grpc.StatusCode.UNAVAILABLE, reason, message, retry_after_ms=RETRY_AFTER_MS)
        case NodeFencedError():
            return RpcStatusError(grpc.StatusCode.UNAVAILABLE, "NODE_UNAVAILABLE", message)
    return None
