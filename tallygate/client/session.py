"""The session of one client: its requests and their reports, over however many streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from tallygate._wire.times import decode_ns
from tallygate.client.allowance import Allowance, Later, Timer, later_on_loop
from tallygate.client.bounds import problem
from tallygate.client.codec import decode_denial, decode_grant, decode_rate, decode_receipt
from tallygate.client.errors import Denial, MeteringError, Overloaded, Unreachable
from tallygate.client.outbox import Outbox
from tallygate.client.settings import ClientSettings, OnUnreachable
from tallygate.client.state import AUTHORIZE, FINISH, RequestState
from tallygate.client.values import Grant
from tallygate.metering.v1 import columns_pb2, decision_pb2, metering_service_pb2

Verdict: TypeAlias = Literal["ALLOW", "DENY"]
REFUSED_FINISHES: Final = frozenset({"INVALID_REPORT", "REQUEST_ID_REUSED", "TOO_OLD", "UNKNOWN_SERVICE"})
"""Reasons of a denied finish whose counts were not taken; with any other, only the service may not go on."""
CUT_OFF: Final = frozenset({"CONTROL_UNREACHABLE", "STORAGE_UNAVAILABLE"})
"""Reasons of a node that could not tell, since something that it needs is away: another node may have it."""
FINISH_WITHIN_S: Final = 0.005
"""Maximum delay of a finish. Nobody waits for its decision, so it leaves in one message with what others report."""
AVOIDED_NS: Final = 20_000_000_000
"""Time for which a client goes to other nodes than one that was of no use, if there are any."""


class Session:
    """Shared by a client, its requests and its present stream; lives on one event loop."""

    def __init__(
        self,
        settings: ClientSettings,
        monotonic_ns: Callable[[], int],
        addresses: tuple[str, ...],
        on_unreachable: OnUnreachable = "deny",
        *,
        later: Later = later_on_loop,
    ) -> None:
        self.settings = settings
        self._later = later
        self._finishes_leave: Timer | None = None
        self.monotonic_ns = monotonic_ns
        self.addresses = addresses
        self.outbox = Outbox(heartbeat_ns=settings.heartbeat_ms * 1_000_000)
        self.requests: dict[str, RequestState] = {}
        self.allowance = Allowance(
            settings,
            on_unreachable,
            outbox=self.outbox,
            requests=self.requests,
            report=self.report,
            monotonic_ns=monotonic_ns,
            later=later,
        )
        self.hand_over: Callable[[RequestState], None] = self.allowance.check
        """Has a request checked that went past its `quiet_tokens`; called from the thread that counts."""
        self.report_by_name: Callable[[RequestState], None] = self.allowance.report_unsaid
        """Reports the counts of a request that no entry speaks of; called from the thread that counts."""
        self.write_is_due = asyncio.Event()
        self.outbox.columns.wake = self.write_is_due.set
        self.drained = asyncio.Event()
        self.connected_to = ""
        """The node that answers now; empty while none does."""
        self.trouble = "no attempt was made"
        """Why the last stream ended."""
        self.disconnects = 0
        self.turn = 0
        """Number of streams before the present one: each goes to the next address."""
        self.home_turn = 0
        """The turn at which all nodes were asked, and the one that was left first has the last word."""
        self.cut_off = ""
        """Reason for which the present stream is left for another node; empty while it is not."""
        self._avoided_until_ns: dict[str, int] = {}
        self.verdicts: dict[tuple[str, str], int] = {}
        """Number of authorisations, by verdict and reason."""
        self.unusable: MeteringError | None = None
        """The error that every use raises: not started yet, closed, or of the parent process; None while usable."""

    def check_usable(self) -> None:
        """Raises `unusable`, if it is set."""
        if self.unusable is not None:
            raise self.unusable

    def open(self, state: RequestState) -> None:
        """Takes in a new request and reports it; a request that no node would take is denied at once.

        Raises:
            Overloaded: There are too many.
            ValueError: One of its id is open.
        """
        self.check_usable()
        if state.request_id in self.requests:
            raise ValueError(f"request {state.request_id} is open already")
        if len(self.requests) >= self.settings.open_requests_max:
            raise Overloaded(f"{len(self.requests)} requests are open; the limit is open_requests_max")
        wrong = problem(state)
        if wrong:
            # As a node would answer the report, which is not sent.
            state.denial = state.finish_denial = Denial("INVALID_REPORT", wrong)
            state.durable = True
            return
        self.requests[state.request_id] = state
        self.report(state)

    def count(self, verdict: Verdict, reason: str = "") -> None:
        """Counts an authorisation. `reason`: of a denial; of a request that goes on without a node, UNREACHABLE."""
        key = (verdict, reason)
        self.verdicts[key] = self.verdicts.get(key, 0) + 1

    def withdraw(self, state: RequestState) -> None:
        """Ends a request that will not run: forgets it if it was denied or never sent, else gives back its hold."""
        if state.denial is not None or not state.ever_sent:
            state.abandoned = True
            self._forget(state)
            return
        state.phase, state.estimated = FINISH, False
        state.input_tokens = state.cached_input_tokens = state.cache_write_tokens = 0
        self.report(state)

    def finish(self, state: RequestState) -> None:
        """Reports the final counts, until they are durable."""
        state.phase = FINISH
        self.allowance.finish(state)
        self.outbox.queue(state)
        if self._finishes_leave is None:
            self._finishes_leave = self._later(FINISH_WITHIN_S, self._write_finishes)
        state.wake()

    def avoid(self, address: str) -> bool:
        """Goes to other nodes for a while; whether there is one of which nothing speaks against that."""
        now_ns = self.monotonic_ns()
        self._avoided_until_ns[address] = now_ns + AVOIDED_NS
        return any(self._avoided_until_ns.get(other, now_ns) <= now_ns for other in self.addresses)

    def report(self, state: RequestState) -> None:
        """Queues the latest report of a request, and wakes the stream's writer."""
        self.outbox.queue(state)
        self.write_is_due.set()

    def begin_message(self) -> None:
        """A message is made now, with all that waits: what is reported from here on is due after it."""
        self.write_is_due.clear()
        self._forget_timer()

    def close(self) -> None:
        """Stops all timers."""
        self.allowance.close()
        self._forget_timer()

    def _forget_timer(self) -> None:
        if self._finishes_leave is not None:
            self._finishes_leave.cancel()
            self._finishes_leave = None

    def _write_finishes(self) -> None:
        self._finishes_leave = None
        self.write_is_due.set()

    def unreachable(self) -> Unreachable:
        """The error for a report that was not answered in time."""
        return Unreachable(
            f"no metering node answered in time at {', '.join(self.addresses)}: {self.trouble}",
            retry_after_ms=self.settings.backoff_cap_ms,
        )

    def receive(self, response: metering_service_pb2.MeterResponse) -> None:
        """Takes in a response of the node."""
        if response.columns_handles_max:
            self.outbox.columns.handles_max = response.columns_handles_max
        changed = [state for decision in response.decisions if (state := self._decide(decision)) is not None]
        if response.HasField("grants"):
            changed += self._raise_grants(response.grants)
        valid_for = response.grants_valid_for if response.HasField("grants_valid_for") else None
        done = self.outbox.advance(
            answered=response.answered_through,
            durable=response.durable_through,
            valid_for_ns=None if valid_for is None else decode_ns(valid_for),
            now_ns=self.monotonic_ns(),
        )
        for state in done:
            state.durable = True
            self._forget(state)
            state.wake()
        if self.cut_off:
            # What was denied is not answered yet.
            return
        # The checks need the watermarks and renewals that `advance` has just taken in.
        for state in (*changed, *self.allowance.watched):
            self.allowance.check(state)
            state.wake()

    def _decide(self, decision: decision_pb2.Decision) -> RequestState | None:
        """Takes in one decision; returns its request, if that is still known."""
        state = self.requests.get(decision.request_id)
        if state is None:
            return None
        answers_finish = state.phase == FINISH and decision.sequence == state.last_sequence and state.queued is None
        if decision.verdict != decision_pb2.VERDICT_ALLOW:
            denial = decode_denial(decision)
            if answers_finish:
                state.finish_denial = denial
            elif self._asks_another(state, denial):
                return None
            else:
                state.denial = denial
                state.choose_road()
        elif decision.HasField("grant"):
            if state.grant is None and not self.cut_off:
                self.home_turn = self.turn
            sent_ns = self.outbox.sent_ns(decision.sequence)
            # A grant that answers no known report brings no validity of its own.
            self.allowance.take(state, decode_grant(decision.grant, sent_ns if sent_ns is not None else 0))
            if decision.HasField("rate"):
                state.rate = decode_rate(decision.rate)
        if decision.service:
            state.service = decision.service
        if decision.HasField("receipt"):
            state.receipt = decode_receipt(decision.receipt)
        return state

    def _asks_another(self, state: RequestState, denial: Denial) -> bool:
        """Whether a request is not denied yet: this stream ends, and another node is asked.

        The others are asked for what has not begun. Where they know no better, all goes back to the node that was left:
        services may go on there for a while. So what runs is not denied on the way either.
        """
        is_away = self.turn < self.home_turn
        is_new = state.phase == AUTHORIZE and state.grant is None
        if denial.reason not in CUT_OFF or state.phase == FINISH or not (is_new or is_away):
            return False
        if not self.cut_off:
            has_others = self.avoid(self.connected_to)
            if has_others and not is_away:
                self.home_turn = self.turn + len(self.addresses)
            if has_others or is_away:
                self.cut_off = denial.reason
        return bool(self.cut_off)

    def _raise_grants(self, grants: columns_pb2.GrantColumns) -> list[RequestState]:
        """Takes in grants that answer entries: valid as the stream says, for as long as it says so."""
        raised: list[RequestState] = []
        for sequence, handle, ceiling_tokens, resume in zip(
            grants.sequences, grants.handles, grants.output_ceiling_tokens, grants.resume, strict=False
        ):
            state = self.outbox.columns.find(handle, sequence)
            # A decision of the same message may have said more.
            if state is not None and state.grant is not None and ceiling_tokens > state.grant.output_ceiling_tokens:
                self.allowance.take(state, Grant(ceiling_tokens, False, state.grant.valid_until_ns, resume))
                raised.append(state)
        return raised

    def _forget(self, state: RequestState) -> None:
        self.requests.pop(state.request_id, None)
        self.outbox.columns.release(state)
        self.allowance.forget(state)
