"""Servicers of the two rate-limit protocols, under the names by which gateways call them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration

from tallygate.client import Denied, MeteredRequest, MeteringError
from tallygate.integrations.openai import errors
from tallygate.integrations.openai.errors import ErrorResponse
from tallygate.integrations.ratelimit import answers
from tallygate.integrations.ratelimit import rate_limit_pb2 as wire
from tallygate.integrations.ratelimit.descriptors import (
    KIND,
    REQUEST_ID,
    DescriptorError,
    Named,
    Read,
    checked,
    read,
    read_kind,
    usage_of,
)
from tallygate.integrations.ratelimit.open_requests import OpenRequests
from tallygate.integrations.services import ServiceResolver, UnknownKeyError, UnknownModelError

ENVOY: Final = "envoy.service.ratelimit.v3.RateLimitService"
KUADRANT: Final = "kuadrant.service.ratelimit.v1.RateLimitService"
REASON_METADATA: Final = "tallygate-reason"

_SAID_MAX: Final = 100
"""Maximum number of sentences that are remembered as said."""
_UNDECIDED: Final = 503
"""Status of refusals that are neither yes nor no."""

_Found = TypeVar("_Found")
_Context = grpc.aio.ServicerContext[Any, Any]
_log = logging.getLogger("tallygate.integrations.ratelimit")


class RefusedError(Exception):
    """A call is refused; its message is the reason, `response` what a client would be answered."""

    def __init__(self, reason: str, response: ErrorResponse) -> None:
        super().__init__(reason)
        self.reason = reason
        self.response = response


class RateLimitServicers:
    """Answers both protocols from the metering service.

    A call that counts nothing asks whether a request may run; one with tokens says what the request used in the end.
    """

    def __init__(self, requests: OpenRequests, find_service: ServiceResolver) -> None:
        """`find_service`: leads from an API key and a model to a service, as the middleware's settings say."""
        self.requests = requests
        self._find_service = find_service
        self._said: set[str] = set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Has a server offer both."""
        envoy = {"ShouldRateLimit": _rpc(self.should_rate_limit, wire.RateLimitRequest)}
        kuadrant = {
            "CheckRateLimit": _rpc(self.check_rate_limit, wire.RateLimitRequest),
            "Report": _rpc(self.report, wire.RateLimitRequest),
            "Reserve": _rpc(self.reserve, wire.ReserveRequest),
            "Commit": _rpc(self.commit, wire.CommitRequest),
        }
        handlers = [
            grpc.method_handlers_generic_handler(ENVOY, envoy),
            grpc.method_handlers_generic_handler(KUADRANT, kuadrant),
        ]
        server.add_generic_rpc_handlers(tuple(handlers))

    async def should_rate_limit(self, request: wire.RateLimitRequest, _context: _Context) -> wire.RateLimitResponse:
        """Envoy's one call: as it comes, may it run; as its stream is done, with tokens, so many were used."""
        return await self._answer(request, self._decide)

    async def check_rate_limit(self, request: wire.RateLimitRequest, _context: _Context) -> wire.RateLimitResponse:
        """Kuadrant's question whether a request may run, whatever it counts."""
        return await self._answer(request, self._admit)

    async def report(self, request: wire.RateLimitRequest, _context: _Context) -> wire.RateLimitResponse:
        """Kuadrant's count of what a request used; none where it has no number."""
        return await self._answer(request, self._count)

    async def reserve(self, request: wire.ReserveRequest, context: _Context) -> wire.ReserveResponse:
        """Holds tokens for a request; a further call for the same request holds what that lacks."""
        try:
            named = read((each.entries, None) for each in request.descriptors).named
            kind = read_kind(each.entries for each in request.descriptors)
            tokens, ttl_s = checked(request.amount, kind), _seconds(request)
            service = await self._service_of(named)
            reservation = await _metered(self.requests.reserve(named, service, kind, tokens, ttl_s))
        except (DescriptorError, RefusedError) as error:
            reason = error.reason if isinstance(error, RefusedError) else "INVALID_DESCRIPTOR"
            if isinstance(error, DescriptorError):
                self._say_once(str(error))
            context.set_trailing_metadata(((REASON_METADATA, reason.lower()),))
            return wire.ReserveResponse(code=wire.OVER_LIMIT)
        return wire.ReserveResponse(code=wire.OK, reservation_id=reservation)

    async def commit(self, request: wire.CommitRequest, context: _Context) -> wire.CommitResponse:
        """Settles a reservation by what was used; without one, records it as `Report` does."""
        try:
            named = read((each.entries, None) for each in request.descriptors).named
            kind = read_kind(each.entries for each in request.descriptors)
            usage = usage_of({kind: checked(request.actual_amount, kind)})
            service = await self._service_of(named)
            released = await _metered(self.requests.commit(request.reservation_id, named, service, usage, kind))
        except DescriptorError as error:
            self._say_once(str(error))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except RefusedError as error:
            _log.error("The tokens of reservation %s were not recorded: %s", request.reservation_id[-64:], error.reason)
            code = (
                grpc.StatusCode.UNAVAILABLE
                if error.response.status == _UNDECIDED
                else grpc.StatusCode.FAILED_PRECONDITION
            )
            await context.abort(code, error.reason)
        return wire.CommitResponse(reservation_released=released)

    async def _answer(
        self, request: wire.RateLimitRequest, decide: Callable[[Read], Awaitable[MeteredRequest | None]]
    ) -> wire.RateLimitResponse:
        descriptors = len(request.descriptors)
        try:
            return answers.allowed(descriptors, await decide(_read(request)))
        except DescriptorError as error:
            self._say_once(str(error))
            return answers.misconfigured(descriptors, str(error))
        except RefusedError as error:
            return answers.refused(descriptors, error.response, error.reason)

    async def _decide(self, found: Read) -> MeteredRequest | None:
        if found.lacks_number:
            raise DescriptorError(
                f"A descriptor with {KIND} has no number: write hits_addend in the filter's own rate_limits or in "
                "RateLimitPerRoute, since Envoy ignores it in rate_limits of a route."
            )
        return await self._admit(found) if found.usage is None else await self._count(found)

    async def _admit(self, found: Read) -> MeteredRequest | None:
        named = found.named
        if not named.request_id:
            raise DescriptorError(f"No descriptor has {REQUEST_ID}: by it a request and its tokens belong together.")
        service = await self._service_of(named)
        return await _metered(self.requests.admit(named, service))

    async def _count(self, found: Read) -> MeteredRequest | None:
        """Records what a request used. Refused is then whoever comes next: the service may not go on."""
        named, usage = found.named, found.usage or usage_of({})
        if not named.request_id:
            self._say_once(f"No descriptor has {REQUEST_ID}: what is said again of a request is counted again.")
        try:
            service = await self._service_of(named)
            denial = await _metered(self.requests.count(named, service, usage))
        except RefusedError as error:
            _log.error("The tokens of request %s were not recorded: %s", named.request_id[:64], error.reason)
            raise
        if denial is not None:
            raise RefusedError(denial.reason, errors.refusal(Denied(denial)))
        return None

    async def _service_of(self, named: Named) -> str:
        """The service of a request; empty where its key leads to one.

        Raises:
            RefusedError: There is none.
        """
        if named.service:
            return named.service
        try:
            found = self._find_service(named.api_key, named.model)
            return found if isinstance(found, str) else await found
        except UnknownKeyError:
            raise RefusedError("CREDENTIAL_INVALID", errors.unknown_key()) from None
        except UnknownModelError:
            raise RefusedError("UNKNOWN_SERVICE", errors.unknown_model(named.model)) from None

    def _say_once(self, sentence: str) -> None:
        """A gateway that is configured wrongly is so for every request."""
        if sentence not in self._said and len(self._said) < _SAID_MAX:
            self._said.add(sentence)
            _log.error("A gateway's rate-limit descriptors cannot be used as they are: %s", sentence)


async def _metered(call: Awaitable[_Found]) -> _Found:
    """The outcome of a call of the client.

    Raises:
        RefusedError: It was refused, or nobody could tell.
    """
    try:
        return await call
    except MeteringError as error:
        raise RefusedError(error.reason, errors.refusal(error)) from error


def _read(request: wire.RateLimitRequest) -> Read:
    descriptors = (
        (each.entries, each.hits_addend.value if each.HasField("hits_addend") else None) for each in request.descriptors
    )
    return read(descriptors, request.hits_addend)


def _seconds(request: wire.ReserveRequest) -> float | None:
    if not request.HasField("ttl"):
        return None
    ttl: Duration = request.ttl
    seconds = ttl.seconds + ttl.nanos / 1_000_000_000
    if seconds <= 0:
        raise DescriptorError(f"A reservation's ttl is {seconds:g} s: say more than zero.")
    return seconds


def _rpc(method: Callable[..., Any], request: Any) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=_serialize
    )


def _serialize(response: Any) -> bytes:
    serialized: bytes = response.SerializeToString()
    return serialized
