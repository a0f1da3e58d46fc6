"""The handle of one metered request."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from tallygate.client.bounds import check_sendable
from tallygate.client.errors import Denied, MeteringError, Unreachable
from tallygate.client.handle import RequestHandle
from tallygate.client.session import REFUSED_FINISHES
from tallygate.client.state import FINISH
from tallygate.client.values import Receipt, Record, Usage


class MeteredRequest(RequestHandle):
    """One request from its authorisation to its finish; to be used from the client's event loop.

    Entering it as a context authorises it, as `authorize` does. Leaving it finishes it with the counts so far, unless
    `finish` was called, and waits up to the client's `receipt_ms` for the receipt: one commit of the node, usually 5 to
    20 ms. After an exception, or with `receipt=False`, it does not wait. A finish that is not on record by then is
    repeated until it is. Leaving raises Denied where the finish itself was refused, and nothing else.
    """

    __slots__ = ()

    async def __aenter__(self) -> Self:
        await self.authorize()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        state = self._state
        if state.phase != FINISH:
            # After an exception it is not known whether all that was generated had been counted.
            self.finish(
                estimated=True if error is not None else None, want_receipt=self._wants_receipt and error is None
            )
        if state.want_receipt and error is None:
            with contextlib.suppress(TimeoutError):
                await self._wait_durable(self._session.settings.receipt_ms)

    async def authorize(self) -> None:
        """Authorises the request: waits for a node's decision; `grant` then has the ceiling.

        When it is given up, by time or cancellation, whatever the node may have granted is given back.

        Raises:
            Denied: A node denied the request.
            Unreachable: No node answered within the client's `answer_ms`; with `on_unreachable="allow"` only where what
                may go on without an answer is used up.
            Overloaded: Too many requests are open.
        """
        session = self._session
        try:
            lent = await self._authorize()
        except MeteringError as error:
            session.count("DENY", error.reason)
            raise
        session.count("ALLOW", Unreachable.reason if lent else "")

    async def _authorize(self) -> bool:
        """As `authorize`; whether the request goes on without a node."""
        state, session, lent = self._state, self._session, False
        session.open(state)
        try:
            async with asyncio.timeout(session.settings.answer_ms / 1_000):
                while state.grant is None and state.denial is None:
                    await state.wait_change()
        except BaseException as error:
            if not isinstance(error, TimeoutError):
                session.withdraw(state)
                raise
            lent = session.allowance.lend(state)
            if not lent:
                session.withdraw(state)
                raise session.unreachable() from None
        if state.denial is not None:
            session.withdraw(state)
            raise Denied(state.denial)
        state.begun = True
        session.allowance.check(state)
        return lent

    async def wait_for_tokens(self) -> int:
        """Number of tokens that may still be generated; waits for the node's answer where nothing is free now.

        Returns:
            0 for stop: it was denied, the grant was final, or the node answered and gave no more.

        Raises:
            Unreachable: No node answered within the client's `answer_ms`; then it must stop as well.
        """
        state, allowance = self._state, self._session.allowance
        self._session.check_usable()
        allowance.check(state)
        while not (free_tokens := self.free_tokens) and not self.must_stop and state.phase != FINISH:
            await state.wait_change()
        if state.gave_up and not free_tokens:
            raise self._session.unreachable()
        return free_tokens

    def set_usage(self, usage: Usage, *, estimated: bool = False) -> None:
        """Replaces all counts by better ones, for instance once it is known how much of the input was cached.

        Until it finishes, a node keeps the larger total of each class.

        Args:
            usage: The counts so far.
            estimated: They are an estimate.

        Raises:
            ValueError: The request is not running, or a count is none.
        """
        state = self._running()
        check_sendable(usage)
        state.set_usage(usage, estimated=estimated)
        # Though no more was generated, the new counts have to be reported.
        state.reported_tokens = -1
        self._hand_over()

    def finish(
        self,
        usage: Usage | None = None,
        *,
        estimated: bool | None = None,
        want_receipt: bool | None = None,
    ) -> None:
        """Reports the final counts. Never waits; the finish is repeated until it is durable.

        Unless they are an estimate, they replace all that was counted and reported before, also where they are smaller.

        Args:
            usage: The counts; by default those so far.
            estimated: They are an estimate, for instance after a client hung up. By default `usage` is none, and the
                counts so far are an estimate if they were reported as one.
            want_receipt: Whether `wait_recorded` shall bring a receipt; by default as the request was made.

        Raises:
            ValueError: It was finished before, or never authorised, or a count is none.
        """
        state = self._running()
        if usage is not None:
            check_sendable(usage)
            state.set_usage(usage, estimated=False)
        if estimated is not None:
            state.estimated = estimated
        state.want_receipt = self._wants_receipt if want_receipt is None else want_receipt
        self._session.finish(state)

    async def record(self, usage: Usage, *, estimated: bool) -> Record:
        """Finish a request that was never authorised, as `MeteringClient.record` does, and wait until it is durable."""
        state = self._state
        check_sendable(usage)
        state.set_usage(usage, estimated=estimated)
        state.phase, state.want_receipt = FINISH, True
        self._session.open(state)
        receipt = await self.wait_recorded()
        return Record(state.request_id, receipt, state.finish_denial)

    async def wait_recorded(self) -> Receipt | None:
        """Waits until the finish is durable.

        Returns:
            The receipt, if one was wanted.

        Raises:
            Denied: The finish itself was refused: its counts were not taken.
            Unreachable: It is not durable after the client's `answer_ms`; the client goes on repeating it.
        """
        try:
            await self._wait_durable(self._session.settings.answer_ms)
        except TimeoutError:
            raise self._session.unreachable() from None
        return self._state.receipt

    async def _wait_durable(self, wait_ms: int) -> None:
        state = self._state
        async with asyncio.timeout(wait_ms / 1_000):
            while not state.durable:
                await state.wait_change()
        if state.finish_denial is not None and state.finish_denial.reason in REFUSED_FINISHES:
            raise Denied(state.finish_denial)
