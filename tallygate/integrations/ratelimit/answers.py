"""Answers of a rate-limit service: what may go on, or what may not and why, for the gateway and for its client."""

from __future__ import annotations

import json
from typing import Final

from tallygate.client import MeteredRequest
from tallygate.integrations.openai.errors import ErrorResponse, server_error
from tallygate.integrations.openai.rate_headers import rate_headers
from tallygate.integrations.ratelimit import rate_limit_pb2 as wire

REASON_HEADER: Final = "x-tallygate-reason"
_OF_BODY: Final = (b"content-length",)
"""Headers that the gateway makes itself."""


def allowed(descriptors: int, request: MeteredRequest | None = None) -> wire.RateLimitResponse:
    """The answer that lets a request through, or says that it was counted; with the figures of its rate rule."""
    answer = _answer(wire.OK, descriptors)
    if request is not None:
        _add_headers(answer, rate_headers(request.rate))
        answer.dynamic_metadata.update({"request_id": request.request_id, "service": request.service})
    return answer


def refused(descriptors: int, response: ErrorResponse, reason: str) -> wire.RateLimitResponse:
    """The answer to a request that may not run. The status is the gateway's, one for all: ours is in the metadata."""
    answer = _answer(wire.OVER_LIMIT, descriptors)
    headers = [(name, value) for name, value in response.headers if name not in _OF_BODY]
    if not {name for name, _ in headers} & {b"retry-after", b"x-should-retry"}:
        # Of our own statuses clients know that trying again is of no use; the gateway's is one that they repeat.
        headers.append((b"x-should-retry", b"false"))
    _add_headers(answer, [*headers, (REASON_HEADER.encode(), reason.lower().encode())])
    answer.raw_body = response.body
    message = json.loads(response.body)["error"]["message"]
    answer.dynamic_metadata.update({"reason": reason, "status": response.status, "message": message})
    return answer


def misconfigured(descriptors: int, message: str) -> wire.RateLimitResponse:
    """The answer to descriptors by which nothing can be metered. Never UNKNOWN, which Envoy takes for OK."""
    return refused(descriptors, server_error(message, "invalid_descriptor"), "INVALID_DESCRIPTOR")


def _answer(code: wire.Code.ValueType, descriptors: int) -> wire.RateLimitResponse:
    return wire.RateLimitResponse(overall_code=code, statuses=[wire.DescriptorStatus(code=code)] * descriptors)


def _add_headers(answer: wire.RateLimitResponse, headers: list[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        answer.response_headers_to_add.add(key=name.decode("ascii"), value=value.decode("ascii"))
