"""The allowance of each request: by its grant while that holds, or on credit while no node answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from tallygate.client.outbox import Outbox
from tallygate.client.settings import ClientSettings, OnUnreachable
from tallygate.client.state import FINISH, NEVER, RequestState
from tallygate.client.values import Grant

LOAN_TOKENS: Final = 256
"""Number of tokens that a request takes on credit at a time."""
SWEEP_PAUSE_NS: Final = 50_000_000
"""Minimum interval between two sweeps over all requests: many that end at different moments cost no more than few."""


class Timer(Protocol):
    """What can be cancelled."""

    def cancel(self) -> object:
        """Undoes it."""
        ...


Later = Callable[[float, Callable[[], None]], Timer]
"""Calls a function after a number of seconds; returns what cancels that."""


def later_on_loop(seconds: float, call: Callable[[], None]) -> Timer:
    """As the running event loop does it."""
    return asyncio.get_running_loop().call_later(seconds, call)


class Allowance:
    """Works out `quiet_tokens`, `stopped` and `final_tokens` of each request, so that counting a token checks little.

    Everything here runs on the event loop. `check` is idempotent: it reports progress where that is due, notes since
    when nothing is free, and gives up, or lends, after `answer_ms` of that. One timer serves all requests.
    """

    def __init__(
        self,
        settings: ClientSettings,
        on_unreachable: OnUnreachable,
        *,
        outbox: Outbox,
        requests: dict[str, RequestState],
        report: Callable[[RequestState], None],
        monotonic_ns: Callable[[], int],
        later: Later,
    ) -> None:
        self._answer_ns = settings.answer_ms * 1_000_000
        self._may_lend = on_unreachable == "allow"
        self._unlent_tokens = settings.unreachable_tokens_max
        self._outbox = outbox
        self._requests = requests
        self._report = report
        self._monotonic_ns = monotonic_ns
        self._later = later
        self._timer: Timer | None = None
        self._wake_ns = 0
        self._swept_ns = -SWEEP_PAUSE_NS
        self.watched: set[RequestState] = set()
        """Requests with nothing free, or on credit: any answer may help them."""

    def take(self, state: RequestState, grant: Grant) -> None:
        """Takes in a grant. Its renewal is due once half of what it added is used: past half of its ceiling as well.

        It is not renewed sooner: where pots run out a node adds little at a time, which nobody shall hoard.
        """
        state.grant = grant
        state.renew_tokens = (state.generated_tokens + grant.output_ceiling_tokens) // 2

    def limit(self, state: RequestState) -> int:
        """Maximum number of tokens that the request may have generated in all, as of now."""
        grant = state.grant
        if grant is None or not self._is_valid(state):
            return state.lent_ceiling_tokens
        return max(grant.output_ceiling_tokens, state.lent_ceiling_tokens)

    def check(self, state: RequestState) -> None:
        """Checks the allowance of a request and does what is due."""
        # First: a caller that counts on during this check is either seen by it or hands over again.
        state.handed_over = False
        if state.phase == FINISH or not state.begun:
            return
        grant = state.grant
        state.final_tokens = grant.output_ceiling_tokens if grant is not None and grant.is_final else NEVER
        if state.denial is not None or state.at_final_ceiling:
            self.watched.discard(state)
            state.starved_ns, state.gave_up = None, False
            state.stopped = state.denial is not None
            state.quiet_tokens = NEVER
            return
        count = state.generated_tokens
        if state.lent_tokens and grant is not None and count < grant.output_ceiling_tokens and self._is_valid(state):
            self._repay(state, keep_tokens=0)
        limit = self.limit(state)
        if count < limit:
            self._go_on(state, count, limit)
        else:
            self._starve(state)

    def lend(self, state: RequestState) -> bool:
        """Lets a request go on for a while without an answer; False where nobody wants that, or too little is left."""
        if not self._may_lend:
            return False
        first_input = 0 if state.begun else state.input_class_tokens
        if state.whole and (
            state.max_output_tokens is None or state.max_output_tokens > self._unlent_tokens - first_input
        ):
            # A whole answer that has started is generated to its end.
            return False
        loan_tokens = NEVER if state.whole else LOAN_TOKENS
        ceiling = state.generated_tokens + min(loan_tokens, self._unlent_tokens - first_input)
        if state.max_output_tokens is not None:
            ceiling = min(ceiling, state.max_output_tokens)
        if ceiling <= state.generated_tokens and (state.begun or state.max_output_tokens != 0):
            return False
        if first_input > self._unlent_tokens:
            return False
        loan = first_input + ceiling - state.generated_tokens
        state.lent_tokens += loan
        self._unlent_tokens -= loan
        state.lent_ceiling_tokens = ceiling
        return True

    def finish(self, state: RequestState) -> None:
        """Ends a request: unused credit goes back at once, the rest when the request is on record."""
        unused = max(0, state.lent_ceiling_tokens - state.generated_tokens)
        self._repay(state, keep_tokens=max(0, state.lent_tokens - unused))
        self.watched.discard(state)
        state.quiet_tokens = -1

    def forget(self, state: RequestState) -> None:
        """Forgets a request that is on record, or never was: all its credit goes back."""
        self._repay(state, keep_tokens=0)
        self.watched.discard(state)

    def sweep(self) -> None:
        """Checks every request whose grant has run out, or which waited too long; sets the timer for the next one."""
        self._timer, self._wake_ns = None, 0
        self._swept_ns = now_ns = self._monotonic_ns()
        next_ns = 0
        for state in list(self._requests.values()):
            due_ns = self._due_ns(state)
            if due_ns and due_ns <= now_ns:
                self.check(state)
                state.wake()
                due_ns = self._due_ns(state)
            if due_ns > now_ns and (not next_ns or due_ns < next_ns):
                next_ns = due_ns
        if next_ns:
            self._wake_by(next_ns)

    def close(self) -> None:
        """Stops the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self, state: RequestState, count: int, limit: int) -> None:
        state.starved_ns = None
        state.gave_up = state.stopped = False
        grant = state.grant
        is_reported = grant is None or grant.is_final or state.reported_ceiling_tokens >= grant.output_ceiling_tokens
        if state.lent_ceiling_tokens:
            self.watched.add(state)
            if not is_reported:
                self.report_progress(state)
            state.quiet_tokens = limit - 1
            return
        assert grant is not None
        self.watched.discard(state)
        if grant.is_final:
            state.quiet_tokens = NEVER
        elif not is_reported and count <= state.renew_tokens:
            state.quiet_tokens = state.renew_tokens
        else:
            if not is_reported:
                self.report_progress(state)
            state.quiet_tokens = limit - 1
        if not state.whole:
            self._wake_by(self._valid_until_ns(state))

    def _starve(self, state: RequestState) -> None:
        """Requests a renewal, waits for the answer, and in the end gives up or goes on without one."""
        state.quiet_tokens = NEVER
        now_ns = self._monotonic_ns()
        if state.starved_ns is None:
            state.starved_ns = now_ns
            self.watched.add(state)
            if state.reported_tokens != state.generated_tokens or self._outbox.is_answered(state):
                self.report_progress(state)
        elif self._outbox.is_answered(state):
            if state.reported_tokens == state.generated_tokens:
                # The node received the report and gave no more.
                state.stopped = True
                return
            self.report_progress(state)
        if now_ns < state.starved_ns + self._answer_ns and not state.lent_tokens:
            self._wake_by(state.starved_ns + self._answer_ns)
        elif self.lend(state):
            self._go_on(state, state.generated_tokens, state.lent_ceiling_tokens)
        else:
            state.gave_up = state.stopped = True

    def _repay(self, state: RequestState, *, keep_tokens: int) -> None:
        self._unlent_tokens += state.lent_tokens - keep_tokens
        state.lent_tokens = keep_tokens
        state.lent_ceiling_tokens = 0

    def report_progress(self, state: RequestState) -> None:
        """Reports the counts, so that the grant is renewed, unless the request still waits for a node to take it on."""
        if state.grant is not None:
            state.reported_ceiling_tokens = state.grant.output_ceiling_tokens
            self.report_counts(state)

    def report_counts(self, state: RequestState) -> None:
        """Reports the counts though no renewal is due: that comes when it is, all the same."""
        if state.entry_handle:
            self._outbox.columns.mark(state)
        elif state.grant is not None:
            state.begin_progress()
            self._report(state)

    def report_unsaid(self, state: RequestState) -> None:
        """Reports the counts if they are not those of the last report."""
        if state.reported_tokens != state.generated_tokens:
            self.report_counts(state)

    def _is_valid(self, state: RequestState) -> bool:
        """Whether the grant holds. Time does not bound a whole answer that has started, since it cannot be stopped."""
        return (state.whole and state.begun) or self._monotonic_ns() < self._valid_until_ns(state)

    def _valid_until_ns(self, state: RequestState) -> int:
        own_ns = state.grant.valid_until_ns if state.grant is not None else 0
        return max(own_ns, self._outbox.renewed_until_ns(state))

    def _due_ns(self, state: RequestState) -> int:
        """When the next check of a request is due though it counts nothing; 0 for never."""
        if state.phase == FINISH or not state.begun or state.stopped or state.at_final_ceiling:
            return 0
        if state.starved_ns is not None:
            return state.starved_ns + self._answer_ns
        return self._valid_until_ns(state) if state.lent_ceiling_tokens == 0 and not state.whole else 0

    def _wake_by(self, due_ns: int) -> None:
        due_ns = max(due_ns, self._swept_ns + SWEEP_PAUSE_NS)
        if self._timer is not None:
            if self._wake_ns <= due_ns:
                return
            self._timer.cancel()
        self._wake_ns = due_ns
        seconds = max(0, self._wake_ns - self._monotonic_ns()) / 1_000_000_000
        self._timer = self._later(seconds, self.sweep)
