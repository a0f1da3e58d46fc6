"""The errors of this service on the wire."""

from typing import Final

import grpc

from control_service.domain.errors import (
    ControlError,
    DeniedError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    RefusedError,
    ResourceExistsError,
    ResourceNotFoundError,
    StorageUnavailableError,
    SupersededError,
)
from control_service.domain.sign_in import IdTokenRefusedError, IssuerUnavailableError
from tallygate._server.grpc.failures import RETRY_AFTER_MS, RpcStatusError

_CODES: Final[dict[type[ControlError], grpc.StatusCode]] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    ResourceNotFoundError: grpc.StatusCode.NOT_FOUND,
    ResourceExistsError: grpc.StatusCode.ALREADY_EXISTS,
    IdempotencyKeyReusedError: grpc.StatusCode.ALREADY_EXISTS,
    DeniedError: grpc.StatusCode.PERMISSION_DENIED,
    RefusedError: grpc.StatusCode.FAILED_PRECONDITION,
    SupersededError: grpc.StatusCode.ABORTED,
    StorageUnavailableError: grpc.StatusCode.UNAVAILABLE,
    IdTokenRefusedError: grpc.StatusCode.UNAUTHENTICATED,
    IssuerUnavailableError: grpc.StatusCode.UNAVAILABLE,
}


def translate(error: Exception) -> RpcStatusError | None:
    """The failure for an error of this service; None for any other exception."""
    if not isinstance(error, ControlError):
        return None
    return RpcStatusError(
        code=_CODES[type(error)],
        reason=error.reason,
        message=error.message,
        metadata=error.metadata,
        violations=error.violations if isinstance(error, InvalidRequestError) else (),
        retry_after_ms=_retry_after_ms(error),
    )


def _retry_after_ms(error: ControlError) -> int | None:
    if isinstance(error, IssuerUnavailableError):
        return error.retry_after_ms
    return RETRY_AFTER_MS if isinstance(error, StorageUnavailableError) else None
