"""Middleware for any ASGI server that speaks the OpenAI API, such as vLLM, SGLang, or an app of one's own."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tallygate._settings_file import with_settings_file
from tallygate.client import Grant, MeteredRequest, MeteringClient, MeteringError, Usage
from tallygate.integrations import environment
from tallygate.integrations.asgi_types import App, Receive, Scope, Send
from tallygate.integrations.forced_usage import forces_usage
from tallygate.integrations.habits import ServerHabits
from tallygate.integrations.intake import Body, UnreadableError, find_api_key, read_body, trace_labels
from tallygate.integrations.lifespan import run_lifespan
from tallygate.integrations.logging_setup import ensure_log_output
from tallygate.integrations.openai import errors
from tallygate.integrations.openai.estimate import estimate_input_tokens, input_tokens_to_hold
from tallygate.integrations.openai.request_body import BadRequestError, ParsedRequest, capped, read_request
from tallygate.integrations.openai.request_facts import facts_of
from tallygate.integrations.openai.usage_options import StreamUsage
from tallygate.integrations.refusals import naming, refuse_body, refuse_route, send_response
from tallygate.integrations.responder import AllowedRequest, MeteringResponder
from tallygate.integrations.routes import SETTING, Routes, Use
from tallygate.integrations.server_tokenizer import ServerTokenizer
from tallygate.integrations.services import (
    ServiceResolver,
    UnknownKeyError,
    UnknownModelError,
    key_sha256,
    service_resolver,
)
from tallygate.integrations.shapes import Shape
from tallygate.integrations.whole_answer import WholeAnswer, listening

STOP_CHECK_S = 0.1
"""Interval of the check that stops requests whose app is producing nothing."""

_log = logging.getLogger("tallygate.integrations.asgi")

# A server makes its middleware only when its model has been loaded, minutes after it took this module.
environment.check_what_is_set(with_settings_file(os.environ))


class MeteringMiddleware:
    """Meters what an app generates over the OpenAI API, and refuses what it does not know.

    Each request to a metered route is authorised before it reaches the app, counted while it streams, ended when its
    service may not go on, and recorded. Routes that make no model run pass untouched. Made with the app alone, it is
    configured by the environment.

    Attributes:
        client: Speaks to metering nodes.
        find_service: Leads from an API key and a model to a service.
        requests: Number of requests by what became of them: metered, free, refused, or of a route or body that was
            refused.
    """

    def __init__(
        self,
        app: App,
        *,
        client: MeteringClient | None = None,
        services: str | Mapping[str, Any] | ServiceResolver | None = None,
        count_input_tokens: Callable[[Mapping[str, Any]], int] = estimate_input_tokens,
        body_bytes_max: int | None = None,
        routes: str | None = None,
        stream_usage: str | None = None,
        asks_server_for_input: bool | None = None,
        whole_answers: str | None = None,
    ) -> None:
        """Wraps an app.

        Args:
            app: Any ASGI app.
            client: Started with the app and closed with it; by default, what the environment says.
            services: Which service a request belongs to: one name or rule for all, a table as of `ServiceMap`, or a
                callable from API key and model; by default, what the environment says, or where the metering node
                knows the API key to lead.
            count_input_tokens: From the request's body, parsed, to its input tokens, for the hold; by default an
                estimate, of which half as much again is held. The model's own tokenizer is better, if it is quick.
            body_bytes_max: Longer requests are refused; by default, what the environment says, or 32 MiB.
            routes: What becomes of which request, besides what is known, as of `parse_routes`; by default, what the
                environment says.
            stream_usage: How streams are made to say their usage, as of `StreamUsage`; by default, what the environment
                says, or "running".
            asks_server_for_input: Whether the app's own tokenizer counts the input before it runs, where it can; by
                default, what the environment says, or not.
            whole_answers: "hold" sets aside all that a whole answer may generate; "stream" fetches it as a stream and
                puts it together; by default, what the environment says, or "hold".

        Raises:
            ValueError: The environment does not say what it has to, or nothing that makes sense.
        """
        said = with_settings_file(os.environ)
        ensure_log_output(environment.log_level_from(said))
        self._app = app
        self.client = client if client is not None else environment.client_from(said)
        self.find_service = service_resolver(services) if services is not None else environment.services_from(said)
        self._count_input_tokens = count_input_tokens
        self._body_bytes_max = body_bytes_max or environment.body_bytes_max_from(said)
        self._routes: Routes = environment.routes_from({SETTING: routes} if routes is not None else said)
        usage = StreamUsage(stream_usage) if stream_usage is not None else environment.stream_usage_from(said)
        self._habits = _habits_of(app, usage)
        if asks_server_for_input is None:
            asks_server_for_input = environment.server_counts_input_from(said)
        self._streams_whole = environment.streams_whole_from(
            {environment.WHOLE_ANSWERS: whole_answers} if whole_answers is not None else said
        )
        self._tokenizer = ServerTokenizer(app) if asks_server_for_input else None
        self._open: set[MeteringResponder] = set()
        self._check_is_due = self._knows_forced_usage = False
        self.requests: Counter[str] = Counter()
        self._tell_metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection of the app's."""
        if scope["type"] == "lifespan":
            await run_lifespan(self._app, scope, receive, send, start=self._start, close=self._close)
            return
        if scope["type"] not in {"http", "websocket"}:
            raise ValueError(f"connections of the type {scope['type']} cannot be metered, and are refused")
        route = self._routes.judge(scope)
        if route.use is Use.FREE:
            self.requests["free"] += 1
            await self._app(scope, receive, send)
        elif route.shape is not None:
            await self._serve(route.shape, scope, receive, send)
        else:
            self.requests["refused_route"] += 1
            await refuse_route(route.use, scope, receive, send)

    async def _serve(self, shape: Shape, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self._take_body(shape, scope, receive, send)
        if body is None:
            self.requests["refused_body"] += 1
            return
        self._detect_forced_usage(scope)
        habits = self._habits[facts_of(shape).is_form]

        def parse(usage: StreamUsage) -> ParsedRequest:
            return read_request(shape, body.raw, usage, encoding=body.encoding, streams_whole=self._streams_whole)

        authorized = await self._authorize(scope, parse, habits.usage)
        if isinstance(authorized, errors.ErrorResponse):
            self.requests["refused"] += 1
            await send_response(send, errors.in_shape(authorized, shape))
            return
        request, allowed = authorized
        self.requests["metered"] += 1

        def rewrite(usage: StreamUsage) -> AllowedRequest:
            return _allow(parse(usage), usage, request, allowed.estimated_input)

        whole = WholeAnswer(send, allowed.parsed.shape) if allowed.parsed.assembles else None
        if whole is not None:
            scope, send = listening(scope), whole
        responder = MeteringResponder(
            scope, receive, send, request=request, allowed=allowed, habits=habits, rewrite=rewrite
        )
        if whole is not None:
            whole.end_soon = responder.stop
        self._open.add(responder)
        self._schedule_check()
        try:
            await responder.run(self._app)
        finally:
            self._open.discard(responder)

    async def _take_body(self, shape: Shape, scope: Scope, receive: Receive, send: Send) -> Body | None:
        """The request's body; None if it was refused, or if there is nobody to answer."""
        try:
            body = await read_body(scope, receive, self._body_bytes_max, is_form=facts_of(shape).is_form)
        except UnreadableError as error:
            await refuse_body(errors.in_shape(errors.unreadable(str(error)), shape), receive, send)
            return None
        if body is not None and body.is_too_long:
            too_large = errors.in_shape(errors.too_large(self._body_bytes_max), shape)
            await refuse_body(too_large, receive, send, has_ended=body.has_ended)
            return None
        return body

    def _detect_forced_usage(self, scope: Scope) -> None:
        """Detects once whether the app reports usage in all streams; only while it serves has it its settings."""
        if self._knows_forced_usage:
            return
        self._knows_forced_usage = True
        if forces_usage(scope.get("app"), self._app):
            for habits in self._habits.values():
                habits.usage = StreamUsage.FORCED

    async def _authorize(
        self, scope: Scope, parse: Callable[[StreamUsage], ParsedRequest], usage: StreamUsage
    ) -> tuple[MeteredRequest, AllowedRequest] | errors.ErrorResponse:
        """Authorises a request; returns the error response where it may not run."""
        api_key = find_api_key(scope)
        try:
            parsed = parse(usage)
        except BadRequestError as error:
            return errors.bad_request(error.message, error.param)
        try:
            found = self.find_service(api_key, parsed.model)
            service = found if isinstance(found, str) else await found
        except UnknownKeyError:
            return errors.unknown_key()
        except UnknownModelError:
            return errors.unknown_model(parsed.model)
        estimated_input, input_to_hold = await self._count_input(scope, parsed)
        # A whole answer cannot be stopped, so all of it is set aside before it begins.
        is_whole = not parsed.streams and parsed.max_output_tokens != 0
        client = scope.get("client")
        request = self.client.request(
            service,
            input_tokens=input_to_hold,
            max_output_tokens=parsed.max_output_tokens,
            whole=is_whole,
            min_output_tokens=parsed.min_output_tokens if is_whole else None,
            credential_sha256=key_sha256(api_key),
            model="" if service else parsed.model,
            source_address=str(client[0]) if client else "",
            labels=trace_labels(scope),
            receipt=False,
        )
        try:
            self.client.start()
            await request.authorize()
        except MeteringError as error:
            refused = errors.refusal(error, leaves_model_open=not (service or parsed.model))
            return naming(refused, request.request_id)
        grant = request.grant
        if grant is not None and not _has_token_for_each(parsed, grant):
            request.finish(Usage(), want_receipt=False)
            too_few = errors.too_few_tokens(parsed.choices, grant.output_ceiling_tokens)
            return naming(too_few, request.request_id)
        return request, _allow(parsed, usage, request, estimated_input)

    async def _count_input(self, scope: Scope, parsed: ParsedRequest) -> tuple[int, int]:
        """Number of input tokens as far as they are known, and number of those to hold."""
        if self._tokenizer is not None and (counted := await self._tokenizer.count(scope, parsed)) is not None:
            return counted, counted
        estimated = self._count_input_tokens(parsed.content)
        is_estimate = self._count_input_tokens is estimate_input_tokens
        return estimated, input_tokens_to_hold(parsed.content, estimated) if is_estimate else estimated

    def _tell_metrics(self) -> None:
        if environment.tells_metrics_from(os.environ):
            from tallygate.integrations import metrics  # noqa: PLC0415  # only where it is asked for: an extra

            metrics.register(self.client, self.requests)

    def _start(self) -> None:
        _log.info("Metered: %s. Whatever else may run a model is refused.", ", ".join(self._routes.metered))
        self.client.start()

    async def _close(self) -> None:
        try:
            await self.client.close()
        except MeteringError as error:
            _log.warning("Not everything is recorded yet: %s", error)

    def _schedule_check(self) -> None:
        if not self._check_is_due:
            self._check_is_due = True
            asyncio.get_running_loop().call_later(STOP_CHECK_S, self._check_open)

    def _check_open(self) -> None:
        self._check_is_due = False
        for responder in self._open:
            responder.end_soon()
        if self._open:
            self._schedule_check()


def _habits_of(app: App, usage: StreamUsage) -> dict[bool, ServerHabits]:
    """The habits of the app, by whether a request is a form: it may take the fields of one encoding alone."""
    once = getattr(app, "is_asked_once", False)
    return {is_form: ServerHabits(usage, is_asked_once=once) for is_form in (False, True)}


def _has_token_for_each(parsed: ParsedRequest, grant: Grant) -> bool:
    """Whether each answer that the request wants may have at least one token."""
    return not grant.is_final or parsed.max_output_tokens == 0 or grant.output_ceiling_tokens >= parsed.choices


def _allow(parsed: ParsedRequest, usage: StreamUsage, request: MeteredRequest, estimated_input: int) -> AllowedRequest:
    """The request as it goes to the app: capped by a final grant, so that the server ends by itself."""
    grant = request.grant
    body, limit = parsed.body, parsed.max_output_tokens
    if grant is not None:
        # A reported count is never taken back, so none is reported before the server has counted the input.
        request.set_usage(Usage())
        if grant.is_final and (limit is None or limit > grant.output_ceiling_tokens):
            body = capped(parsed, grant.output_ceiling_tokens)
            limit = None if parsed.limits_parts else grant.output_ceiling_tokens
    return AllowedRequest(parsed, body, usage, limit, estimated_input)
