"""The handle that asynchronous and synchronous requests share: counting, and all that is known without a node."""

from __future__ import annotations

from tallygate.client.errors import Denial
from tallygate.client.rate_status import RateStatus
from tallygate.client.session import Session
from tallygate.client.state import FINISH, RequestState
from tallygate.client.values import Grant, Receipt, Usage


class RequestHandle:
    """Counts tokens where they are generated. Nothing in here waits.

    One thread at a time counts for one request. That this may be another thread than the event loop's rests on plain
    integer attributes being read and written whole, as the interpreter lock guarantees, and on each of them having one
    writer.
    """

    __slots__ = ("_columns", "_session", "_state", "_wants_receipt")

    def __init__(self, session: Session, state: RequestState, *, wants_receipt: bool) -> None:
        self._session = session
        self._columns = session.outbox.columns
        self._state = state
        self._wants_receipt = wants_receipt

    def output(self, tokens: int = 1, *, reasoning: int = 0) -> None:
        """Adds tokens that were generated: a local addition while the request is well inside its grant.

        Past half of the grant, progress is reported, so that the grant is renewed before it is used up. The call never
        waits, and always counts, also once `must_stop` is true: work that was done is recorded.

        Args:
            tokens: Output tokens.
            reasoning: Reasoning tokens, beside them: the kinds are disjoint. For a reasoning token alone,
                `output(0, reasoning=1)`.

        Raises:
            ValueError: The request is not running: not authorised yet, or finished; or a count is negative.
            Forked: The request belongs to the parent of this process.
        """
        state = self._state
        if tokens < 0:
            raise ValueError(f"{tokens} tokens: counts only grow")
        if reasoning:
            if reasoning < 0:
                raise ValueError(f"{reasoning} reasoning tokens: counts only grow")
            tokens += reasoning
            state.reasoning_tokens += reasoning
        state.generated_tokens = generated = state.generated_tokens + tokens
        if generated > state.quiet_tokens:
            self._hand_over()

    def report(self) -> None:
        """Reports the counts so far, though no renewal is due, for servers that say each step. Waits for no node.

        The counts leave with the stream's next message, as they are by then where the node takes columns. Where nothing
        was counted since the last report, nothing is sent.

        Raises:
            ValueError: The request is not running.
            Forked: The request belongs to the parent of this process.
        """
        state = self._state
        if not state.entry_handle:
            self._session.report_by_name(self._running())
        elif not state.is_marked and state.reported_tokens != state.generated_tokens:
            # As `Columns.mark`, written out: a call would cost a third of all this.
            state.is_marked = True
            columns = self._columns
            columns.marked.append(state)
            if not columns.is_woken:
                columns.wake_writer()

    @property
    def must_stop(self) -> bool:
        """Whether generating on would not be right even after waiting. It may turn true at any moment.

        True once a node denied the request (`denial` has the reason), at the ceiling of a final grant, and where
        nothing was free for the client's `answer_ms` and no node answered. A grant that is merely used up faster than
        it is renewed does not stop a request: the tokens until the answer comes, usually those of one round trip, count
        as overrun. A server that wants none of that awaits `wait_for_tokens()` whenever `free_tokens` is 0.
        """
        state = self._state
        return state.stopped or state.generated_tokens >= state.final_tokens

    @property
    def free_tokens(self) -> int:
        """How many more tokens may be generated right now.

        0 at the ceiling, after a stop, and while the grant's validity has run out.
        """
        state = self._state
        if state.denial is not None or not state.begun or state.phase == FINISH:
            return 0
        return max(0, self._session.allowance.limit(state) - state.generated_tokens)

    @property
    def request_id(self) -> str:
        """Its id."""
        return self._state.request_id

    @property
    def service(self) -> str:
        """Its service; empty while no node has said to which one its API key leads."""
        return self._state.service

    @property
    def usage(self) -> Usage:
        """The counts so far."""
        return self._state.usage()

    @property
    def grant(self) -> Grant | None:
        """The latest grant; `free_tokens` is what it still allows. None while the request goes on without an answer."""
        return self._state.grant

    @property
    def rate(self) -> RateStatus | None:
        """The rate rule of key or service that was nearest to its limit when it was authorised; None without any."""
        return self._state.rate

    @property
    def denial(self) -> Denial | None:
        """Why a node denied the request; None if none did."""
        return self._state.denial

    @property
    def receipt(self) -> Receipt | None:
        """The receipt, once the finish is on record, if one was wanted."""
        return self._state.receipt

    def _running(self) -> RequestState:
        state = self._state
        self._session.check_usable()
        if state.phase == FINISH:
            raise ValueError(f"request {state.request_id} was finished before")
        if not state.begun:
            raise ValueError(f"request {state.request_id} was not authorised: enter it as a context first")
        return state

    def _hand_over(self) -> None:
        """Has the event loop check the request, once it went past `quiet_tokens`."""
        state = self._running()
        if not state.handed_over:
            state.handed_over = True
            self._session.hand_over(state)
