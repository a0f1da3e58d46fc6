"""The client of a metering service: one stream, many requests in it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from tallygate._channel import Channels
from tallygate._security import PLAIN, Security
from tallygate.client.backoff import full_jitter_ms
from tallygate.client.bounds import hash_of
from tallygate.client.errors import Forked, MeteringError
from tallygate.client.fork import unwatch, watch
from tallygate.client.outbox import REPORTS_PER_MESSAGE_MAX
from tallygate.client.request import MeteredRequest
from tallygate.client.session import Session
from tallygate.client.settings import ClientSettings, OnUnreachable, parse_addresses
from tallygate.client.state import FINISH, RequestState
from tallygate.client.stream import MeterStream
from tallygate.client.values import Record, Usage

_DEFAULTS: Final = ClientSettings()
_NOT_STARTED: Final = MeteringError("this metering client is not running: enter it as a context, or call start()")
_log = logging.getLogger("tallygate.client")


class MeteringClient:
    """Meters requests over one stream to any of several metering nodes.

    Made for one per server process, started after the process was forked; to be used from one event loop. When the
    stream breaks, the client goes to the next address and repeats the latest report of every open request and of every
    finish that is not durable.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        settings: ClientSettings = _DEFAULTS,
        on_unreachable: OnUnreachable = "deny",
        credential: str = "",
        security: Security = PLAIN,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        random_below: Callable[[int], int] = random.randrange,
    ) -> None:
        """Makes a client; `start`, or entering it as a context, connects it.

        Args:
            addresses: `HOST:PORT`: one, several with commas between them, or a sequence.
            settings: Times and bounds.
            on_unreachable: "deny" raises Unreachable where no node answers within `answer_ms`. "allow" lets requests go
                on then, for `unreachable_tokens_max` tokens of all of them together, and has them recorded as soon as a
                node is back.
            credential: For requests that bring none of their own: an API key.
            security: TLS, and a token; without, the connection is plain, and nothing is proved.
            monotonic_ns: The clock that grants run by.
            random_below: An integer from 0 to below its argument, for jitter.

        Raises:
            ValueError: There is no address, a file of `security` is missing or broken, or a token would be sent to
                another machine in plain text.
        """
        self._channels = Channels(security, lambda problem: _log.error("Metering: %s", problem))
        self._session = Session(settings, monotonic_ns, parse_addresses(addresses), on_unreachable)
        for address in self._session.addresses:
            self._channels.check(address)
        self._session.unusable = _NOT_STARTED
        self._credential = credential
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
        """Begins to connect; does not wait for it.

        Raises:
            Forked: It was started in the parent of this process.
        """
        if self._task is None:
            self._session.unusable = None
            watch(self._session)
            self._task = asyncio.create_task(self._run(), name="tallygate metering stream")
        self._session.check_usable()

    async def close(self) -> None:
        """Waits until every finish is durable, then hangs up.

        Requests still open stay so for the node's resume window. In a forked child it does nothing.

        Raises:
            Unreachable: The finishes did not become durable within `close_ms`; the stream is closed all the same.
        """
        if isinstance(self._session.unusable, Forked):
            return
        try:
            async with asyncio.timeout(self._session.settings.close_ms / 1_000):
                for state in [state for state in self._session.requests.values() if state.phase == FINISH]:
                    while not state.durable:
                        await state.wait_change()
        except TimeoutError:
            raise self._session.unreachable() from None
        finally:
            await self._hang_up()

    def request(
        self,
        service: str = "",
        *,
        input_tokens: int = 0,
        cached_input_tokens: int = 0,
        cache_write_tokens: int = 0,
        max_output_tokens: int | None = None,
        whole: bool = False,
        hold_for_s: float | None = None,
        min_output_tokens: int | None = None,
        request_id: str | None = None,
        credential: str = "",
        credential_sha256: bytes = b"",
        model: str = "",
        source_address: str = "",
        labels: Mapping[str, str] | None = None,
        estimated: bool = False,
        receipt: bool = True,
    ) -> MeteredRequest:
        """A request of a service; enter it as a context to authorise it.

        Args:
            service: `accounts/{account}/services/{service}`; left out where the API key leads to one.
            input_tokens: Tokens that go in: those neither read from nor written to a cache, as far as it is known.
            cached_input_tokens: Input tokens read from a cache, beside those.
            cache_write_tokens: Input tokens written to a cache, beside those.
            max_output_tokens: Maximum number of tokens to generate, which caps what is set aside; 0 for none.
            whole: The server cannot be stopped in the middle of this answer. All of it is then set aside before it
                starts: `grant.output_ceiling_tokens`, and the server must generate no more.
            hold_for_s: With `whole`: seconds for which it stays open without a report, at most 3,600; by default the
                node's resume window.
            min_output_tokens: With `whole`: the least output, over all choices, that the answer may be cut down to
                where pots run out. By default the model's smallest request.
            request_id: Unique within the service for ever, which the caller answers for; at most 64 bytes. One is made
                where it is left out.
            credential: The end user's API key as it was shown, of which the SHA-256 is sent; by default the client's.
            credential_sha256: In place of that: the SHA-256 of the key, 32 bytes.
            model: The model as the end user called it, by which the key leads to a service.
            source_address: The end user's address, at most 256 bytes.
            labels: For usage queries: at most 8, keys and values at most 64 bytes each.
            estimated: What it counts is an estimate: usage only where neither `finish` nor `set_usage` brings better.
            receipt: Whether leaving the context waits for the receipt, one commit of the node.
        """
        state = RequestState(
            request_id=request_id if request_id is not None else uuid.uuid4().hex,
            service=service,
            max_output_tokens=max_output_tokens,
            whole=whole,
            hold_for_s=hold_for_s,
            min_output_tokens=min_output_tokens,
            key_sha256=credential_sha256 or hash_of(credential or self._credential),
            model=model,
            source_address=source_address,
            labels=dict(labels) if labels else None,
        )
        state.set_usage(Usage(input_tokens, cached_input_tokens, cache_write_tokens), estimated=estimated)
        return MeteredRequest(self._session, state, wants_receipt=receipt)

    async def record(
        self,
        service: str,
        usage: Usage,
        *,
        request_id: str | None = None,
        estimated: bool = False,
        credential: str = "",
        credential_sha256: bytes = b"",
        model: str = "",
        source_address: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> Record:
        """Records the usage of a request that was not authorised, in full, and waits until it is durable.

        Args:
            service: As of `request`; empty to leave it to the API key and the model.
            usage: Final counts.
            request_id: As of `request`. Recording one id again records it once.
            estimated: The counts are an estimate.
            credential: As of `request`.
            credential_sha256: As of `request`.
            model: As of `request`.
            source_address: As of `request`.
            labels: As of `request`.

        Returns:
            The receipt, and whether the service may go on.

        Raises:
            Denied: The counts were not taken.
            Unreachable: They are not durable after `answer_ms`; the client goes on repeating them.
            Overloaded: Too many requests are open.
        """
        request = self.request(
            service,
            request_id=request_id,
            credential=credential,
            credential_sha256=credential_sha256,
            model=model,
            source_address=source_address,
            labels=labels,
        )
        return await request.record(usage, estimated=estimated)

    @property
    def connected_to(self) -> str:
        """The address of the node that answers now; empty while none does."""
        return self._session.connected_to

    @property
    def open_requests(self) -> int:
        """Requests in memory: those that run, and those whose finish is not durable yet."""
        return len(self._session.requests)

    @property
    def reports_sent(self) -> int:
        """Reports sent so far, those sent again included."""
        return self._session.outbox.reports_sent

    @property
    def disconnects(self) -> int:
        """Number of streams that broke after a node had answered on them."""
        return self._session.disconnects

    @property
    def verdicts(self) -> Mapping[tuple[str, str], int]:
        """Number of authorisations, by verdict and reason; what goes on without a node is ALLOW, UNREACHABLE."""
        return dict(self._session.verdicts)

    async def drain(self) -> None:
        """Waits until the unsent reports fit in one message: for callers that report faster than the network takes."""
        while len(self._session.outbox) > REPORTS_PER_MESSAGE_MAX:
            self._session.drained.clear()
            await self._session.drained.wait()

    async def _hang_up(self) -> None:
        session = self._session
        unwatch(session)
        session.close()
        session.unusable = _NOT_STARTED
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait([task])
            session.outbox.hang_up(session.requests.values())
            if not task.cancelled():
                task.result()

    async def _run(self) -> None:
        session, settings = self._session, self._session.settings
        failures = 0
        while True:
            session.outbox.restart(session.requests.values())
            session.cut_off = ""
            address = session.addresses[session.turn % len(session.addresses)]
            stream = MeterStream(address, session, self._channels)
            session.trouble = await stream.run()
            _log.log(logging.WARNING if stream.was_answered else logging.INFO, "Metering: %s", session.trouble)
            failures = 0 if stream.was_answered else failures + 1
            session.disconnects += stream.was_answered
            if not stream.was_answered:
                session.avoid(address)
            session.turn += 1
            wait_ms = full_jitter_ms(
                failures, base_ms=settings.backoff_base_ms, cap_ms=settings.backoff_cap_ms, random=self._random_below
            )
            await asyncio.sleep(wait_ms / 1_000)
