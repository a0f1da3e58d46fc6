"""The servicer of Envoy's external processing: each stream of it is one request that the middleware serves."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import grpc

from tallygate.integrations.asgi_types import App
from tallygate.integrations.envoy import ext_proc_pb2 as wire
from tallygate.integrations.envoy import heads
from tallygate.integrations.envoy.app import pass_answer
from tallygate.integrations.envoy.passing import BrokenProtocolError, PassingRequest
from tallygate.integrations.openai import errors

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
_NO_SUCCESS: Final = 300
"""Least status of answers for which nothing has run."""

_log = logging.getLogger("tallygate.integrations.envoy")


class ExternalProcessor:
    """Serves an app, metered, to Envoy.

    A request is served by a task of its own: a stream that Envoy breaks off cancels its handler, and what the request
    has used is recorded all the same.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._serving: set[asyncio.Task[None]] = set()
        self._has_warned: set[str] = set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds it to a server."""
        handler = grpc.stream_stream_rpc_method_handler(
            self.process,
            request_deserializer=wire.ProcessingRequest.FromString,
            response_serializer=wire.ProcessingResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Process": handler})])

    async def process(self, _requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Serves one request, from its head to the end of its answer."""
        first = await context.read()
        if not isinstance(first, wire.ProcessingRequest):
            return
        passing = PassingRequest(first, context)
        mistake = mistake_in(first)
        if mistake:
            self._warn(mistake)
            await passing.refuse(errors.unmetered_gateway())
            return
        serving = asyncio.create_task(self._serve(passing), name="tallygate request of Envoy's")
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        try:
            await asyncio.shield(serving)
        except BrokenProtocolError as error:
            self._warn(str(error))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        if not passing.may_end:
            await context.abort(grpc.StatusCode.INTERNAL, "the request was not answered")

    async def close(self) -> None:
        """Waits until all requests that were broken off are recorded."""
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, passing: PassingRequest) -> None:
        if not passing.is_answered_early:
            await self._app(passing.scope, passing.receive, passing.send)
        if passing.is_answered_early:
            await pass_answer(passing, passing.receive, passing.send)

    def _warn(self, mistake: str) -> None:
        """Logs what is wrong with the filter, once each, since every request has it."""
        if mistake not in self._has_warned:
            self._has_warned.add(mistake)
            _log.error("Envoy's filter cannot be metered, and its requests are refused: %s", mistake)


def mistake_in(first: wire.ProcessingRequest) -> str:
    """What is wrong with the filter that sent this first message, and what to configure; empty if nothing is."""
    if first.observability_mode:
        return "observability_mode has to be false; as it is, nothing can be refused or stopped"
    if first.WhichOneof("request") != "request_headers" and not _is_own_answer(first):
        return "processing_mode.request_header_mode has to be SEND"
    modes = first.protocol_config
    if modes.request_body_mode != wire.FULL_DUPLEX_STREAMED:
        return f"processing_mode.request_body_mode {_instead(modes.request_body_mode)}"
    if modes.response_body_mode != wire.FULL_DUPLEX_STREAMED:
        return f"processing_mode.response_body_mode {_instead(modes.response_body_mode)}"
    return ""


def _is_own_answer(first: wire.ProcessingRequest) -> bool:
    """Whether Envoy has refused or redirected a request itself, before any filter has seen it."""
    return first.WhichOneof("request") == "response_headers" and heads.status_of(first.response_headers) >= _NO_SUCCESS


def _instead(mode: wire.BodySendMode.ValueType) -> str:
    return f"has to be FULL_DUPLEX_STREAMED, not {wire.BodySendMode.Name(mode)}"
