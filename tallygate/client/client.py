"""The client of a metering service: one stream, many requests in it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from tallygate.client.backoff import full_jitter_ms
from tallygate.client.outbox import REPORTS_PER_MESSAGE_MAX
from tallygate.client.request import MeteredRequest
from tallygate.client.session import Session
from tallygate.client.settings import ClientSettings
from tallygate.client.state import FINISH, RequestState
from tallygate.client.stream import MeterStream

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
        self._session = Session(settings, monotonic_ns, tuple(addresses))
        self._random_below = random_below
        self._task: asyncio.Task[None] | None = None

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
            async with asyncio.timeout(self._session.settings.close_ms / 1_000):
                for state in [state for state in self._session.requests.values() if state.phase == FINISH]:
                    while not state.durable:
                        await state.wait_change()
        except TimeoutError:
            raise self._session.unreachable() from None
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
        return MeteredRequest(self._session, state)

    @property
    def reports_sent(self) -> int:
        """Reports sent so far, those sent again included."""
        return self._session.outbox.reports_sent

    @property
    def breaks(self) -> int:
        """How often a stream that had been answered broke."""
        return self._session.breaks

    async def eased(self) -> None:
        """Waits until what gathered fits in one message: for callers that report faster than the network takes it."""
        while len(self._session.outbox) > REPORTS_PER_MESSAGE_MAX:
            self._session.eased.clear()
            await self._session.eased.wait()

    async def _run(self) -> None:
        session, settings = self._session, self._session.settings
        failures = turn = 0
        while True:
            session.outbox.restart(session.requests.values())
            stream = MeterStream(session.addresses[turn % len(session.addresses)], session)
            session.trouble = await stream.run()
            failures = 0 if stream.heard else failures + 1
            session.breaks += stream.heard
            turn += 1
            wait_ms = full_jitter_ms(
                failures, base_ms=settings.backoff_base_ms, cap_ms=settings.backoff_cap_ms, random=self._random_below
            )
            await asyncio.sleep(wait_ms / 1_000)
