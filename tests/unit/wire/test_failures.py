"""What a failed call says to machines, as the servers write it."""

import grpc
from grpc_status import rpc_status

from tallygate._server.grpc.failures import RpcStatusError, status_of
from tallygate._wire.failures import Failure, decode_failure


def test_a_failure_leads_back_to_its_reason_and_its_fields() -> None:
    """Whatever other details it has, such as when to try again."""
    violations = (("services[1]", "must be a name"), ("step", "must be whole minutes"))
    said = RpcStatusError(
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "No.", violations=violations, retry_after_ms=7
    )
    status = rpc_status.to_status(status_of(said))
    trailing = grpc.aio.Metadata(*status.trailing_metadata)
    error = grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), trailing, status.details)
    assert decode_failure(error) == Failure("INVALID_REQUEST", violations)


def test_a_call_that_failed_on_its_way_says_nothing() -> None:
    """It has a code, and no details of a server."""
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "refused")
    assert decode_failure(error) == Failure()
