"""The client of a metering service: one stream, many requests in it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from tallygate.client import codec
from tallygate.client.backoff import full_jitter_ms
from tallygate.client.errors import Overloaded, Unreachable
from tallygate.client.outbox import REPORTS_PER_MESSAGE_MAX, Outbox
from tallygate.client.request import MeteredRequest
from tallygate.client.settings import ClientSettings
from tallygate.client.state import FINISH, RequestState
from tallygate.client.stream import MeterStream
from tallygate.metering.v1 import decision_pb2, metering_service_pb2

_REFUSED_FINISHES = frozenset({"INVALID_REPORT", "REQUEST_ID_REUSED", "TOO_OLD"})
"""Denials of a finish which say that its counts were not taken; others only say that the service may not go on."""
_DEFAULTS = ClientSettings()


class MeteringClient:
    """Meters requests over one stream to any of several metering nodes.

    Made for one per server process; to be used from one event loop. When the stream breaks it goes to the next address
    and says the latest of every open request and of every finish that is not durable. Addresses are `HOST:PORT`.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        settings: ClientSettings = _DEFAULTS,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        random_below: Callable[[int], int] = random.randrange,
    ) -> None:
        if not addresses:
            raise ValueError("a metering client needs at least one address, such as 127.0.0.1:7402")
        self.settings = settings
        self._addresses = tuple(addresses)
        self._monotonic_ns = monotonic_ns
        self._random_below = random_below
        self._outbox = Outbox(heartbeat_ns=settings.heartbeat_ms * 1_000_000)
        self._requests: dict[str, RequestState] = {}
        self._watched: set[RequestState] = set()
        self._wake = asyncio.Event()
        self._eased = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._trouble = "no attempt was made"

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begins to connect; does not wait for it."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="tallygate metering stream")

    async def close(self) -> None:
        """Waits until every finish is durable, then hangs up.

        Requests still open stay so for the node's resume window. Raises Unreachable if the finishes did not become
        durable within `close_ms`; the stream is closed all the same.
        """
        try:
            async with asyncio.timeout(self.settings.close_ms / 1_000):
                for state in [state for state in self._requests.values() if state.phase == FINISH]:
                    while not state.durable:
                        await state.wait_change()
        except TimeoutError:
            raise self._unreachable() from None
        finally:
            if self._task is not None:
                task, self._task = self._task, None
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result()

    def request(
        self,
        service: str,
        *,
        request_id: str,
        input_tokens: int,
        cached_input_tokens: int = 0,
        cache_write_tokens: int = 0,
        max_output_tokens: int | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> MeteredRequest:
        """A request of a service, `accounts/{account}/services/{service}`; enter it as a context to authorise it.

        `request_id` must be unique within the service for ever; the caller answers for that.
        """
        state = RequestState(
            request_id=request_id,
            service=service,
            input_tokens=input_tokens,
            cached_input_tokens=cached_input_tokens,
            cache_write_tokens=cache_write_tokens,
            max_output_tokens=max_output_tokens,
            labels=dict(labels or {}),
        )
        return MeteredRequest(self, state)

    @property
    def reports_sent(self) -> int:
        """Reports sent so far, those sent again included."""
        return self._outbox.reports_sent

    async def eased(self) -> None:
        """Waits until what gathered fits in one message: for callers that report faster than the network takes it."""
        while len(self._outbox) > REPORTS_PER_MESSAGE_MAX:
            self._eased.clear()
            await self._eased.wait()

    def _open(self, state: RequestState) -> None:
        if state.request_id in self._requests:
            raise ValueError(f"request {state.request_id} is open already")
        if len(self._requests) >= self.settings.open_requests_max:
            raise Overloaded(f"{len(self._requests)} requests are open; the limit is open_requests_max")
        self._requests[state.request_id] = state
        self._outbox_say(state)

    def _withdraw(self, state: RequestState) -> None:
        """Ends a request that will not run: denied or never sent, it is forgotten; else whatever it holds is given back."""
        if state.denial is not None or not state.ever_sent:
            state.abandoned = True
            self._requests.pop(state.request_id, None)
            return
        state.phase = FINISH
        state.input_tokens = state.cached_input_tokens = state.cache_write_tokens = 0
        self._outbox_say(state)

    def _outbox_say(self, state: RequestState) -> None:
        self._outbox.say(state)
        self._wake.set()

    def _watch(self, state: RequestState) -> None:
        self._watched.add(state)

    def _unwatch(self, state: RequestState) -> None:
        self._watched.discard(state)

    def _unreachable(self) -> Unreachable:
        return Unreachable(f"no metering node answered in time at {', '.join(self._addresses)}: {self._trouble}")

    async def _run(self) -> None:
        failures = 0
        turn = 0
        while True:
            address = self._addresses[turn % len(self._addresses)]
            stream = MeterStream(
                address,
                self._outbox,
                self._wake,
                self._eased,
                self._monotonic_ns,
                self.settings,
            )
            self._outbox.restart(self._requests.values())
            self._trouble = await stream.run(self._receive)
            failures = 0 if stream.heard else failures + 1
            turn += 1
            wait_ms = full_jitter_ms(
                failures,
                base_ms=self.settings.backoff_base_ms,
                cap_ms=self.settings.backoff_cap_ms,
                random=self._random_below,
            )
            await asyncio.sleep(wait_ms / 1_000)

    def _receive(self, response: metering_service_pb2.MeterResponse) -> None:
        for decision in response.decisions:
            self._decide(decision)
        valid_for = response.grants_valid_for if response.HasField("grants_valid_for") else None
        done = self._outbox.advance(
            answered=response.answered_through,
            durable=response.durable_through,
            valid_for_ns=None if valid_for is None else codec.duration_ns(valid_for),
            now_ns=self._monotonic_ns(),
        )
        for state in done:
            state.durable = True
            self._requests.pop(state.request_id, None)
            state.wake()
        for state in self._watched:
            state.wake()

    def _decide(self, decision: decision_pb2.Decision) -> None:
        state = self._requests.get(decision.request_id)
        if state is None:
            return
        answers_finish = state.phase == FINISH and decision.sequence == state.last_sequence and state.queued is None
        if decision.verdict != decision_pb2.VERDICT_ALLOW:
            denial = codec.decode_denial(decision)
            if not answers_finish:
                state.denial = denial
            elif denial.reason in _REFUSED_FINISHES:
                state.finish_denial = denial
        elif decision.HasField("grant"):
            sent_ns = self._outbox.sent_ns(decision.sequence)
            # Where it is not known what the grant answers, it brings no validity of its own.
            state.grant = codec.decode_grant(decision.grant, sent_ns if sent_ns is not None else 0)
        if decision.HasField("receipt"):
            state.receipt = codec.decode_receipt(decision.receipt)
        state.wake()
