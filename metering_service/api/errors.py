"""The errors of this service as gRPC statuses."""

from typing import Final

import grpc

from metering_service.domain.credential import CredentialState
from metering_service.domain.errors import (
    CredentialRefusedError,
    CredentialUnverifiedError,
    InvalidRequestError,
    NodeFencedError,
    OverloadedError,
    RecordNotFoundError,
    RightsChangedError,
    SequenceGapError,
    StorageUnavailableError,
)
from tallygate._access.permission import Permission
from tallygate._server.grpc.failures import RETRY_AFTER_MS, VIOLATIONS_MAX, RpcStatusError

CREDENTIAL_REASONS: Final = {
    CredentialState.UNKNOWN: "CREDENTIAL_INVALID",
    CredentialState.EXPIRED: "CREDENTIAL_EXPIRED",
    CredentialState.REVOKED: "CREDENTIAL_REVOKED",
}


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
    return _translate_access(error)


def _translate_access(error: Exception) -> RpcStatusError | None:
    """Of an error that is about who calls."""
    message = str(error)
    match error:
        case CredentialRefusedError():
            return RpcStatusError(grpc.StatusCode.UNAUTHENTICATED, CREDENTIAL_REASONS[error.state], message)
        case CredentialUnverifiedError():
            return RpcStatusError(
                grpc.StatusCode.UNAVAILABLE, "CREDENTIAL_UNVERIFIED", message, retry_after_ms=RETRY_AFTER_MS
            )
        case RightsChangedError():
            metadata = {"permission": str(Permission.METER), "scope": error.scope}
            return RpcStatusError(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", message, metadata)
    return None
