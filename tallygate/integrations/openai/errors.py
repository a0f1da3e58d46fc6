"""Errors as clients of the OpenAI API understand them: a status, when to try again, an error body."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tallygate.client import Denied, MeteringError
from tallygate.integrations.openai.rate_headers import rate_headers
from tallygate.integrations.shapes import Shape

Headers = list[tuple[bytes, bytes]]

_FIRST_UNDECIDED = 40
_RETRY_AFTER_MS = 1_000
"""Wait before a retry that is worth it, where the reason has none of its own."""
_WAIT_MAX_MS = 60_000
"""Maximum wait that clients get: of longer ones, some clients try again at once, others sleep for a day."""
_PATH_SHOWN = 128


_CHALLENGE = (b"www-authenticate", b"Bearer")


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error that the middleware answers with: status, headers and body, as HTTP has them."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class _Meaning:
    """The meaning of a reason to a client; `limits` is the unit of the x-ratelimit headers."""

    status: int
    type: str
    code: str = ""
    param: str | None = None
    limits: str = ""


_NO_FUNDS = _Meaning(402, "insufficient_quota")
_FORBIDDEN = _Meaning(403, "permission_denied")
_UNKNOWN_KEY = _Meaning(401, "authentication_error", "invalid_api_key")
_CONTENDED_SLOTS = _Meaning(429, "requests", limits="requests")
"""Meaning of BUDGET_CONTENDED where a rule of requests at once refused: a silent node has what is left of it."""
_TRY_AGAIN = _Meaning(503, "service_unavailable")
_OURS = _Meaning(500, "server_error")
"""Fault of the service, about which its client can do nothing."""

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""Anthropic's names of errors, by their status; `api_error` for any other."""

MEANINGS = {
    # Somebody has to act on the service, or its model: claim, enable, resume, publish a price. The same key may use
    # other models.
    "NOT_ENABLED": _FORBIDDEN,
    "POSTPAID_DISABLED": _FORBIDDEN,
    "SUSPENDED": _FORBIDDEN,
    "NO_PRICE": _FORBIDDEN,
    "ACCOUNT_CLOSED": _FORBIDDEN,
    # Somebody has to use another model.
    "MODEL_RETIRED": _Meaning(404, "invalid_request_error", param="model"),
    # Whatever is wrong with the key, or with its use here.
    "CREDENTIAL_INVALID": _UNKNOWN_KEY,
    # It passes by itself, within seconds.
    "ACTIVATING": _TRY_AGAIN,
    # Somebody has to pay. Not 429: clients repeat that, which cannot help.
    "TRIAL_EXHAUSTED": _NO_FUNDS,
    "TRIAL_EXPIRED": _NO_FUNDS,
    "TRIAL_INSUFFICIENT": _NO_FUNDS,
    "BALANCE_INSUFFICIENT": _NO_FUNDS,
    "RESERVATION_ENDED": _NO_FUNDS,
    "ACCOUNT_OVERDUE": _NO_FUNDS,
    "BUDGET_EXCEEDED": _NO_FUNDS,
    # Slower, please.
    "RESERVATION_EXCEEDED": _Meaning(429, "tokens", "rate_limit_exceeded", limits="tokens"),
    "TOKEN_RATE": _Meaning(429, "tokens", "rate_limit_exceeded", limits="tokens"),
    "REQUEST_RATE": _Meaning(429, "requests", "rate_limit_exceeded", limits="requests"),
    "CONCURRENCY": _Meaning(429, "requests", "rate_limit_exceeded", limits="requests"),
    # Others hold what is left, and may give it back.
    "BUDGET_CONTENDED": _Meaning(429, "tokens", limits="tokens"),
    # To the client, a service is a model that it may use.
    "UNKNOWN_SERVICE": _Meaning(404, "invalid_request_error", "model_not_found", param="model"),
    # Reports are made here, not by the client. A repeated request gets another id, so that repeating helps.
    "REQUEST_ID_REUSED": _Meaning(409, "conflict"),
    "INVALID_REPORT": _OURS,
    "TOO_OLD": _OURS,
    # No decision: neither yes nor no.
    "CONTROL_UNREACHABLE": _TRY_AGAIN,
    "STORAGE_UNAVAILABLE": _TRY_AGAIN,
    "OVERLOADED": _TRY_AGAIN,
    # The same, found at this end of the connection.
    "UNREACHABLE": _TRY_AGAIN,
    "OPEN_REQUESTS_MAX": _TRY_AGAIN,
    "FORKED": _OURS,
}
"""Every reason of the contract, and those of the client."""


def refusal(error: MeteringError, *, leaves_model_open: bool = False) -> ErrorResponse:
    """The response to a request that may not run. `leaves_model_open`: neither a model nor a service was named."""
    if leaves_model_open and error.reason == "INVALID_REPORT":
        return bad_request("The request names no model, and the API key is for several: say which one.", "model")
    meaning = _meaning(error)
    retryable = error.retryable or meaning.status == _TRY_AGAIN.status
    retry_after_ms = (error.retry_after_ms or _RETRY_AFTER_MS) if retryable else 0
    headers: Headers = []
    if retryable:
        headers.append((b"retry-after", b"%d" % -(-retry_after_ms // 1_000)))
        headers.append((b"retry-after-ms", b"%d" % retry_after_ms))
        if retry_after_ms > _WAIT_MAX_MS:
            headers.append((b"x-should-retry", b"false"))
    elif meaning.status in {409, 429, 500}:
        # Clients repeat these unless told not to.
        headers.append((b"x-should-retry", b"true" if meaning.status == 409 else b"false"))  # noqa: PLR2004  # a status
    if meaning is _UNKNOWN_KEY:
        headers.append(_CHALLENGE)
    if meaning.limits:
        headers += _rate_limits(meaning.limits, error, retry_after_ms)
    code = meaning.code or (error.reason or "METERING_FAILED").lower()
    return _error_response(meaning.status, headers, error.message, kind=meaning.type, param=meaning.param, code=code)


def in_shape(response: ErrorResponse, shape: Shape) -> ErrorResponse:
    """A refusal as clients of this kind of request understand it: in the words of Anthropic, Ollama, Cohere."""
    said = json.loads(response.body)["error"]
    if shape is Shape.MESSAGES:
        kind = _ANTHROPIC_TYPES.get(response.status, "api_error")
        error = {"type": kind, "message": said["message"], "code": said["code"]}
        content: dict[str, object] = {"type": "error", "error": error}
    elif shape in {Shape.OLLAMA_CHAT, Shape.OLLAMA_GENERATE}:
        content = {"error": said["message"]}
    elif shape is Shape.COHERE_CHAT:
        content = {"message": said["message"]}
    else:
        return response
    body = json.dumps(content).encode()
    headers = [(name, value) for name, value in response.headers if name != b"content-length"]
    return ErrorResponse(response.status, [*headers, (b"content-length", b"%d" % len(body))], body)


def too_few_tokens(choices: int, tokens: int) -> ErrorResponse:
    """The response to a request for more answers than there are tokens left."""
    message = f"{tokens:,} output tokens remain, too few for {choices:,} answers: ask for fewer, or add to the balance."
    return _error_response(402, [], message, kind="insufficient_quota", param="n", code="balance_insufficient")


def unknown_key() -> ErrorResponse:
    """The response to an API key that belongs to no account."""
    meaning = _UNKNOWN_KEY
    message = "The API key is missing or not known here."
    return _error_response(meaning.status, [_CHALLENGE], message, kind=meaning.type, code=meaning.code)


def unknown_model(model: str) -> ErrorResponse:
    """The response to a model that no service can be named for."""
    return _error_response(
        404,
        [],
        f"The model `{model[:128]}` does not exist or you do not have access to it.",
        kind="invalid_request_error",
        param="model",
        code="model_not_found",
    )


def bad_request(message: str, param: str | None = None) -> ErrorResponse:
    """The response to a request that cannot be read."""
    return _error_response(400, [], message, kind="invalid_request_error", param=param, code="invalid_request")


def server_error(message: str, code: str) -> ErrorResponse:
    """The response where whoever runs the server, or a gateway in front of it, has to mend something."""
    return _error_response(500, [], message, kind="server_error", code=code)


def unknown_route(method: str, path: str) -> ErrorResponse:
    """The response to a request that may make the model run in a way that nobody here can count."""
    message = (
        f"{method[:16]} {_printable(path)} is refused: it is no route that is metered here. Whoever runs this server "
        "can open it by the setting TALLYGATE_ROUTES."
    )
    return _error_response(404, [], message, kind="invalid_request_error", code="unknown_route")


def unclear_path(path: str) -> ErrorResponse:
    """The response to a path that has control characters, which apps read in different ways."""
    message = f"The path {_printable(path)} has control characters: leave them out."
    return _error_response(400, [], message, kind="invalid_request_error", code="invalid_path")


def bad_upstream(*, is_late: bool) -> ErrorResponse:
    """The response where the server behind a proxy is away, or silent for too long."""
    status, what = (504, "did not answer in time") if is_late else (502, "cannot be reached")
    message = f"The inference server {what}: try again later."
    return _error_response(status, [], message, kind="server_error", code="upstream_unavailable")


def unreadable(message: str) -> ErrorResponse:
    """The response to a body that is not what is read here."""
    return _error_response(415, [], message, kind="invalid_request_error", code="unsupported_media_type")


def too_large(bytes_max: int) -> ErrorResponse:
    """The response to a body that is longer than what is read."""
    message = f"The request's body is longer than {bytes_max:,} bytes."
    return _error_response(
        413, [(b"connection", b"close")], message, kind="invalid_request_error", code="request_too_large"
    )


def stalled_body() -> ErrorResponse:
    """The response to a body of which nothing has come for too long."""
    message = "The rest of the request's body did not come in time: send it again."
    return _error_response(
        408, [(b"connection", b"close")], message, kind="invalid_request_error", code="request_timeout"
    )


def unmetered_gateway() -> ErrorResponse:
    """The response where the gateway is not set up in a way in which requests could be metered."""
    message = (
        "The gateway is not set up to be metered, so nothing passes. Whoever runs it finds the setting in its log."
    )
    return _error_response(500, [(b"x-should-retry", b"false")], message, kind="server_error", code="gateway_setup")


def _printable(path: str) -> str:
    text = path[:_PATH_SHOWN]
    return text if text.isprintable() else ascii(text)[1:-1]


def _meaning(error: MeteringError) -> _Meaning:
    rate = error.denial.rate if isinstance(error, Denied) else None
    if error.reason == "BUDGET_CONTENDED" and rate is not None:
        return _CONTENDED_SLOTS
    return MEANINGS.get(error.reason) or _unknown(error.reason)


def _unknown(reason: str) -> _Meaning:
    """The meaning of a reason newer than this version, by its number's family."""
    number = reason.removeprefix("REASON_")
    if number.isdecimal():
        return _TRY_AGAIN if int(number) >= _FIRST_UNDECIDED else _FORBIDDEN
    return _OURS


def _rate_limits(what: str, error: MeteringError, reset_ms: int) -> Headers:
    figures = rate_headers(error.denial.rate) if isinstance(error, Denied) else []
    if figures:
        return figures
    remaining = error.denial.remaining_tokens if isinstance(error, Denied) and what == "tokens" else None
    headers = [(f"x-ratelimit-remaining-{what}", str(remaining or 0))]
    if reset_ms:
        headers.append((f"x-ratelimit-reset-{what}", f"{reset_ms}ms"))
    return [(name.encode(), value.encode()) for name, value in headers]


def _error_response(
    status: int, headers: Headers, message: str, *, kind: str, code: str, param: str | None = None
) -> ErrorResponse:
    error = {"message": message, "type": kind, "param": param, "code": code}
    body = json.dumps({"error": error}).encode()
    length = (b"content-length", b"%d" % len(body))
    return ErrorResponse(status, [(b"content-type", b"application/json"), length, *headers], body)
