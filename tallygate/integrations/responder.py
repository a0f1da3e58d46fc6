"""The middleware's responder: runs the app for one request that was allowed, and meters what the app answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from tallygate.client import Denied, MeteredRequest, MeteringError, Unreachable, Usage
from tallygate.integrations.answer_counts import AnswerCounts
from tallygate.integrations.asgi_messages import (
    ANSWERS_PAST_US,
    PIECE_BYTES_MAX,
    body_slices,
    lowered,
    spec_version,
    with_length,
)
from tallygate.integrations.asgi_types import App, Message, Receive, Scope, Send
from tallygate.integrations.final_usage import Facts
from tallygate.integrations.habits import ServerHabits
from tallygate.integrations.openai.errors import in_shape, refusal
from tallygate.integrations.openai.rate_headers import rate_headers
from tallygate.integrations.openai.request_body import ParsedRequest
from tallygate.integrations.openai.request_facts import facts_of
from tallygate.integrations.openai.stream import MeteredStream
from tallygate.integrations.openai.usage_options import StreamUsage
from tallygate.integrations.refusals import REQUEST_ID_HEADER, naming, send_response
from tallygate.integrations.request_finish import finish_request

GRANT_CHECK_TOKENS = 16
"""Maximum number of tokens between two checks of a grant; a check is never later than the grant's ceiling."""

_log = logging.getLogger("tallygate.integrations.asgi")
_OK = range(200, 300)
_REFUSALS = {400, 422}
"""Statuses by which servers refuse a field that they do not know."""
_START = "http.response.start"
_BODY = "http.response.body"


class ClientGoneError(OSError):
    """What an app's `send` raises when there is nobody to send to, as servers do since ASGI 2.4."""


@dataclass(frozen=True, slots=True)
class AllowedRequest:
    """A request that a node has authorised, as it goes to the app.

    Attributes:
        parsed: The body as the client sent it, parsed.
        body: The body that the app gets.
        usage: The way in which the usage of a stream is requested.
        max_output_tokens: Maximum number of tokens, if the server does as it is told.
        estimated_input: Estimated number of input tokens.
    """

    parsed: ParsedRequest
    body: bytes
    usage: StreamUsage
    max_output_tokens: int | None
    estimated_input: int


class MeteringResponder:
    """Runs the app for one request that was allowed.

    It counts what the app generates, ends the answer when the request must stop, and records the request when the
    answer has ended. One of two may write to the client at a time: the app through `_send`, or, while the app is not
    writing, the caller of `end_soon`.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        request: MeteredRequest,
        allowed: AllowedRequest,
        habits: ServerHabits,
        rewrite: Callable[[StreamUsage], AllowedRequest],
    ) -> None:
        """Begins.

        Args:
            scope: Of the request, as ASGI has it.
            receive: From the client.
            send: To the client.
            request: The request, authorised.
            allowed: The request as it goes to the app.
            habits: Of the server behind.
            rewrite: Makes the same request, with its stream's usage requested in another way.
        """
        self._scope = scope
        self._client_receive = receive
        self._client_send = send
        self._request = request
        self._allowed = allowed
        self._habits = habits
        self._rewrite = rewrite
        self._refusal: list[Message] | None = None
        self._answer = AnswerCounts(allowed.parsed, request.request_id, allowed.max_output_tokens, habits)
        self._stream: MeteredStream | None = None
        self._counted = 0
        self._counted_reasoning = 0
        self._check_at_tokens = 0
        self._status: int | None = None
        self._body_is_given = False
        self._is_sending = False
        self._is_complete = False
        self._is_ended = False
        self._has_raised = False
        self._gone = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._raises_when_gone = spec_version(scope) >= (2, 4)

    async def run(self, app: App) -> None:
        """Runs the app to its end, whatever that is, and records what it did."""
        try:
            await app(with_length(self._scope, len(self._allowed.body)), self._receive, self._send)
            while self._refusal is not None:
                await self._retry(app)
            if self._status is None and not self._gone.is_set():
                self._is_complete = True
        except Exception:
            # An app that fails because its client is gone has not failed where the middleware told it so.
            if not self._is_ended:
                self._has_raised = True
                raise
            _log.debug("The server ended request %s with an exception", self._request.request_id, exc_info=True)
        finally:
            self._record()
            if self._ending is not None:
                await self._ending

    async def _retry(self, app: App) -> None:
        """Sends the request once more with less added to it, or nothing, after the server refused what was added."""
        refusal, self._refusal = self._refusal, None
        assert refusal is not None
        lesser = self._habits.lesser(self._allowed.usage)
        if lesser is None or self._gone.is_set():
            for message in refusal:
                await self._send(message)
            return
        self._allowed = allowed = self._rewrite(lesser)
        self._answer = AnswerCounts(allowed.parsed, self._request.request_id, allowed.max_output_tokens, self._habits)
        self._body_is_given = False
        await app(with_length(self._scope, len(self._allowed.body)), self._receive, self._send)

    def end_soon(self) -> None:
        """Ends the answer if the request must stop; while the app is writing, `_send` ends it after that."""
        if not (self._is_ended or self._is_sending or self._is_complete) and self._must_end():
            self._ending = asyncio.create_task(self._end(), name="tallygate end of a request")

    def stop(self) -> None:
        """Ends the stream as if it had reached its limit, though it could go on."""
        if self._ending is None and not (self._is_ended or self._is_complete):
            self._ending = asyncio.create_task(self._end(), name="tallygate end of a request")

    def _must_end(self) -> bool:
        request = self._request
        if not request.must_stop or (self._status is not None and self._stream is None):
            return False
        # At its own limit, the server ends by itself, and its own counts are the best.
        return request.denial is not None or self._counted != self._allowed.max_output_tokens

    async def _end(self) -> None:
        """Ends the answer in a way that clients understand, and lets the app see the client as gone."""
        self._is_ended = True
        try:
            # A client that is gone by now needs no end.
            with contextlib.suppress(OSError):
                await self._send_end()
        finally:
            self._gone.set()

    async def _send_end(self) -> None:
        if self._stream is not None:
            body = self._stream.end(self._so_far(self._stream))
            await self._client_send({"type": _BODY, "body": body, "more_body": False})
            return
        denial = self._request.denial
        unreachable = Unreachable("No metering node answers, so that the request cannot go on.")
        answer = in_shape(refusal(unreachable if denial is None else Denied(denial)), self._allowed.parsed.shape)
        await send_response(self._client_send, naming(answer, self._request.request_id))

    def _so_far(self, stream: MeteredStream) -> Usage:
        said = stream.usage or Usage(input_tokens=self._allowed.estimated_input)
        tokens, reasoning = stream.since
        return replace(
            said,
            output_tokens=said.output_tokens + tokens - reasoning,
            reasoning_tokens=said.reasoning_tokens + reasoning,
        )

    async def _receive(self) -> Message:
        if not self._body_is_given:
            self._body_is_given = True
            return {"type": "http.request", "body": self._allowed.body, "more_body": False}
        if self._gone.is_set():
            return {"type": "http.disconnect"}
        received = asyncio.ensure_future(self._client_receive())
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({received, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not received.done() or self._is_ended:
                return {"type": "http.disconnect"}
            message = received.result()
            if message["type"] == "http.disconnect":
                self._gone.set()
            return message
        finally:
            received.cancel()
            gone.cancel()

    async def _send(self, message: Message) -> None:
        if self._is_ended:
            self._take_late(message)
            return
        if len(message.get("body", b"")) > PIECE_BYTES_MAX:
            for part in body_slices(message):
                await self._send(part)
                await asyncio.sleep(0)
            return
        self._is_sending = True
        try:
            stream = self._stream
            if stream is None or message["type"] != _BODY:
                await self._send_other(message)
            elif message.get("more_body") and not self._request.must_stop:
                # Nearly every message comes here: each call and each check is paid once for each token of a stream.
                body = message.get("body", b"")
                shown = stream.feed(body)
                has_tokens = stream.tokens > self._counted
                if has_tokens:
                    self._count(stream)
                if shown:
                    await self._client_send(message if shown is body else {**message, "body": shown})
                if has_tokens and self._counted >= self._check_at_tokens:
                    await self._check_grant(stream)
            else:
                await self._send_ending(message, stream)
        finally:
            self._is_sending = False

    async def _send_other(self, message: Message) -> None:
        """Sends a message that is no piece of a streamed answer."""
        if self._refusal is not None or self._refuses_usage(message):
            self._refusal = [*(self._refusal or ()), message]
        elif message["type"] == _BODY:
            await self._send_part(message)
        elif message["type"] == _START:
            await self._send_start(message)
        elif message["type"] in ANSWERS_PAST_US:
            raise RuntimeError(f"an answer by {message['type']} cannot be metered")
        else:
            await self._client_send(message)

    def _refuses_usage(self, message: Message) -> bool:
        """Whether this message begins a refusal, perhaps of what was added to the request."""
        allowed = self._allowed
        if self._gone.is_set():
            return False
        is_refusal = message["type"] == _START and message["status"] in _REFUSALS
        return is_refusal and allowed.parsed.adds_usage and self._habits.lesser(allowed.usage) is not None

    async def _send_start(self, message: Message) -> None:
        if self._status is not None:
            raise RuntimeError("the app begins its answer twice")
        self._status = message["status"]
        headers = lowered(message)
        self._start_answer(headers)
        if self._allowed.parsed.streams:
            # The length changes by what is hidden, or written at an early end.
            headers = [header for header in headers if header[0] != b"content-length"]
        headers.append((REQUEST_ID_HEADER, self._request.request_id.encode()))
        figures = rate_headers(self._request.rate)
        theirs = {name for name, _ in figures}
        headers = [header for header in headers if header[0] not in theirs] + figures
        await self._client_send({**message, "headers": headers})

    def _start_answer(self, headers: list[tuple[bytes, bytes]]) -> None:
        if self._status not in _OK:
            return
        parsed = self._allowed.parsed
        if parsed.streams and facts_of(parsed.shape).usage is StreamUsage.RUNNING:
            self._habits.accept(self._allowed.usage)
        self._answer.start(headers)

    async def _send_part(self, message: Message) -> None:
        """Sends a part of an answer that is not known to be a stream."""
        more = message.get("more_body", False)
        shown = self._answer.feed(message.get("body", b""), more=more)
        self._stream = self._answer.stream
        self._is_complete = not more
        if self._stream is not None:
            self._count(self._stream)
        if shown or not more:
            await self._client_send({**message, "body": shown})

    async def _send_ending(self, message: Message, stream: MeteredStream) -> None:
        """Sends the last piece of a streamed answer, or one that comes when the request must stop."""
        is_over = self._request.must_stop and self._must_end()
        more = message.get("more_body", False)
        shown = stream.feed(message.get("body", b""))
        if not more:
            shown += stream.close()
            self._is_complete = True
        has_tokens = stream.tokens > self._counted
        self._count(stream)
        if is_over and has_tokens and more:
            await self._end()
            return
        if shown or not more:
            await self._client_send({**message, "body": shown})
        if has_tokens and more:
            await self._check_grant(stream)

    async def _check_grant(self, stream: MeteredStream) -> None:
        """At the ceiling, waits for more tokens; ends the answer if none come, before the app generates unpaid ones."""
        if stream.is_finished:
            return
        free_tokens = self._request.free_tokens
        if free_tokens:
            self._check_at_tokens = self._counted + min(free_tokens, GRANT_CHECK_TOKENS)
            return
        if self._counted == self._allowed.max_output_tokens and self._request.denial is None:
            return
        try:
            has_tokens = await self._request.wait_for_tokens() > 0
        except MeteringError:
            has_tokens = False
        if not has_tokens:
            await self._end()

    def _take_late(self, message: Message) -> None:
        """Counts what an app sends after the end: it reaches nobody, but what was generated is recorded."""
        if message["type"] == _START and self._status is None:
            self._status = message["status"]
            self._start_answer(lowered(message))
        elif message["type"] == _BODY:
            self._answer.feed(message.get("body", b""), more=message.get("more_body", False))
            self._stream = self._answer.stream
            if self._stream is not None:
                self._count(self._stream)
        if self._raises_when_gone:
            raise ClientGoneError("the request was stopped")

    def _count(self, stream: MeteredStream) -> None:
        new = stream.tokens - self._counted
        if new <= 0:
            return
        self._counted = stream.tokens
        if stream.reasoning <= self._counted_reasoning:
            self._request.output(new)
            return
        reasoning = min(stream.reasoning - self._counted_reasoning, new)
        self._counted_reasoning = stream.reasoning
        self._request.output(new - reasoning, reasoning=reasoning)

    def _record(self) -> None:
        has_left = self._gone.is_set() and not self._is_ended
        counts = self._answer.counts(is_complete=self._is_complete, has_left=self._gone.is_set())
        estimated_input = self._allowed.estimated_input if counts.input_tokens is None else counts.input_tokens
        facts = Facts(
            estimated_input=estimated_input,
            usage=counts.usage,
            tokens=counts.tokens,
            reasoning=counts.reasoning,
            status=self._status,
            is_complete=self._is_complete,
            is_stopped=self._is_ended,
            has_raised=self._has_raised,
            has_left=has_left,
            is_refusal=counts.is_refusal,
            problem=self._answer.problem,
            is_as_ever=counts.is_as_ever,
        )
        finish_request(self._request, facts)
