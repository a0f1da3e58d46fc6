"""The handle of one metered request."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from tallygate.client.errors import Denial, Denied
from tallygate.client.session import Session
from tallygate.client.state import FINISH, PROGRESS, RequestState
from tallygate.client.values import Grant, Receipt, Usage


class MeteredRequest:
    """One request from its authorisation to its finish.

    Entering it as a context authorises: Denied says no, Unreachable says that nobody could tell. Leaving it finishes
    with the counts said last, unless it was finished before.
    """

    def __init__(self, session: Session, state: RequestState) -> None:
        self._session = session
        self._state = state

    async def __aenter__(self) -> Self:
        await self.authorize()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._state.phase != FINISH:
            self.finish(estimated=error is not None)

    @property
    def request_id(self) -> str:
        """Its id."""
        return self._state.request_id

    @property
    def usage(self) -> Usage:
        """The counts so far."""
        return self._state.usage()

    @property
    def grant(self) -> Grant | None:
        """The grant as given last; `free_tokens` is what it still allows."""
        return self._state.grant

    @property
    def must_stop(self) -> bool:
        """Whether a node said to stop generating now; `denial` says why. It may turn true at any moment."""
        return self._state.denial is not None

    @property
    def denial(self) -> Denial | None:
        """Why it must stop."""
        return self._state.denial

    @property
    def free_tokens(self) -> int:
        """How many more tokens of the output class may be generated now.

        0 at the ceiling, after a stop, and while the grant's validity has run out.
        """
        state = self._state
        if state.denial is not None or state.grant is None or self._session.is_expired(state):
            return 0
        return max(
            0,
            state.grant.output_ceiling_tokens - state.output_tokens - state.reasoning_tokens,
        )

    async def authorize(self) -> Grant:
        """Asks whether the request may run.

        Raises Denied, Unreachable after the client's `answer_ms`, Overloaded if too many requests are open. When it is
        given up, by time or cancellation, whatever the node may have granted is given back.
        """
        state = self._state
        self._session.open(state)
        try:
            async with asyncio.timeout(self._session.settings.answer_ms / 1_000):
                while state.grant is None and state.denial is None:
                    await state.wait_change()
        except BaseException as error:
            self._session.withdraw(state)
            if isinstance(error, TimeoutError):
                raise self._session.unreachable() from None
            raise
        if state.denial is not None:
            self._session.withdraw(state)
            raise Denied(state.denial)
        assert state.grant is not None
        return state.grant

    def progress(self, *, output_tokens: int, reasoning_tokens: int = 0, say: bool = False) -> bool:
        """Takes in how much was generated so far; returns whether it may go on right away.

        It is said to the node once the count is past half of the ceiling, so that the grant is renewed in time, or when
        `say` is true. Never waits. False means that nothing is free now: `await room()`.
        """
        state = self._state
        state.output_tokens = output_tokens
        state.reasoning_tokens = reasoning_tokens
        grant = state.grant
        if grant is not None and not grant.final and grant.output_ceiling_tokens > state.said_ceiling_tokens:
            say = say or 2 * (output_tokens + reasoning_tokens) > grant.output_ceiling_tokens
        if say:
            self._say_progress()
        return self.free_tokens > 0

    async def room(self) -> int:
        """How many more tokens may be generated, waiting for the node's answer where nothing is free now.

        0 means stop: it was denied, the grant was final, or the node answered and gave no more. Raises Unreachable when
        there is no answer within the client's `answer_ms`; then it must stop as well.
        """
        free_tokens = self.free_tokens
        if free_tokens or self._ended():
            return free_tokens
        state, outbox = self._state, self._session.outbox
        if state.said_output_tokens != state.output_class_tokens or outbox.is_answered(state):
            self._say_progress()
        self._session.watched.add(state)
        try:
            async with asyncio.timeout(self._session.settings.answer_ms / 1_000):
                while not (self.free_tokens or self._ended() or outbox.is_answered(state)):
                    await state.wait_change()
        except TimeoutError:
            raise self._session.unreachable() from None
        finally:
            self._session.watched.discard(state)
        return self.free_tokens

    def finish(
        self,
        usage: Usage | None = None,
        *,
        estimated: bool = False,
        want_receipt: bool = False,
    ) -> None:
        """Says the final counts, by default those said last. Never waits; it is said again until it is durable."""
        state = self._state
        if state.phase == FINISH:
            raise ValueError(f"request {state.request_id} was finished before")
        if usage is not None:
            state.set_usage(usage)
        state.phase = FINISH
        state.estimated = estimated
        state.want_receipt = want_receipt
        self._session.say(state)

    async def settled(self) -> Receipt | None:
        """Waits until the finish is durable; returns the receipt if one was wanted.

        Raises Denied if the finish itself was refused, and Unreachable after the client's `answer_ms`; the client then
        still goes on saying it.
        """
        state = self._state
        try:
            async with asyncio.timeout(self._session.settings.answer_ms / 1_000):
                while not state.durable:
                    await state.wait_change()
        except TimeoutError:
            raise self._session.unreachable() from None
        if state.finish_denial is not None:
            raise Denied(state.finish_denial)
        return state.receipt

    def _say_progress(self) -> None:
        state = self._state
        state.phase = PROGRESS
        state.said_output_tokens = state.output_class_tokens
        if state.grant is not None:
            state.said_ceiling_tokens = state.grant.output_ceiling_tokens
        self._session.say(state)

    def _ended(self) -> bool:
        """Whether no answer can change anything: it was denied, or it is at the ceiling of a final grant."""
        state = self._state
        if state.denial is not None or state.grant is None:
            return True
        return state.grant.final and state.output_class_tokens >= state.grant.output_ceiling_tokens
