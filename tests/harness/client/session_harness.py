"""A client's session with a node that a test plays by hand: no socket, no loop, a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from google.protobuf.duration_pb2 import Duration

from tallygate.client.request import MeteredRequest
from tallygate.client.session import Session
from tallygate.client.settings import ClientSettings, OnUnreachable
from tallygate.client.state import RequestState
from tallygate.metering.v1 import columns_pb2, decision_pb2, metering_service_pb2, report_pb2

SERVICE = "accounts/acme/services/chat"
VALID_S = 20
SETTINGS = ClientSettings(answer_ms=5_000, unreachable_tokens_max=1_000)


@dataclass(eq=False)
class Alarm:
    due_s: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass(eq=False)
class Desk:
    on_unreachable: OnUnreachable = "deny"
    settings: ClientSettings = SETTINGS
    now_ns: int = 0
    alarms: list[Alarm] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = Session(
            self.settings, lambda: self.now_ns, ("node:7402",), self.on_unreachable, later=self._later
        )

    def state(self, number: int = 1, *, input_tokens: int = 10, max_output_tokens: int | None = None) -> RequestState:
        """A request that was said and waits for its answer."""
        state = RequestState(f"r{number}", SERVICE, input_tokens=input_tokens, max_output_tokens=max_output_tokens)
        self.session.open(state)
        return state

    def granted(self, ceiling: int, number: int = 1, *, is_final: bool = False) -> MeteredRequest:
        """A request that runs."""
        state = self.state(number)
        self.hear(grant=(state, ceiling), is_final=is_final)
        return self.begin(state)

    def lent(self, number: int = 1, *, input_tokens: int = 10) -> MeteredRequest | None:
        """A request that nobody answered."""
        state = self.state(number, input_tokens=input_tokens)
        return self.begin(state) if self.session.allowance.lend(state) else None

    def begin(self, state: RequestState) -> MeteredRequest:
        state.begun = True
        self.session.allowance.check(state)
        return MeteredRequest(self.session, state, wants_receipt=False)

    def offer_columns(self, handles_max: int = 1_000) -> None:
        """The node has said that it takes columns."""
        self.session.receive(metering_service_pb2.MeterResponse(columns_handles_max=handles_max))

    def bound(self, ceiling: int = 1_000, number: int = 1) -> MeteredRequest:
        """A request that runs and is bound to a handle, by a node that takes columns."""
        self.offer_columns()
        return self.granted(ceiling, number)

    def message(self) -> metering_service_pb2.MeterRequest:
        """What is sent now, which is something."""
        message = self.session.outbox.take(self.now_ns)
        assert message is not None
        return message

    def allow(self, state: RequestState, ceiling: int) -> None:
        """A grant, before anything is answered by number."""
        response = metering_service_pb2.MeterResponse()
        grant = decision_pb2.Grant(output_ceiling_tokens=ceiling, valid_for=Duration(seconds=VALID_S), resume=b"token")
        sequence = state.last_sequence
        response.decisions.add(
            request_id=state.request_id, sequence=sequence, verdict=decision_pb2.VERDICT_ALLOW, grant=grant
        )
        self.session.receive(response)

    def stop(self, state: RequestState) -> None:
        """A denial that nobody asked for."""
        response = metering_service_pb2.MeterResponse()
        response.decisions.add(request_id=state.request_id, verdict=decision_pb2.VERDICT_DENY, message="Stop now.")
        self.session.receive(response)

    def answer(self, grants: columns_pb2.GrantColumns | None = None) -> None:
        """Everything that was sent is answered by number."""
        last = self.session.outbox._next_sequence - 1
        self.session.receive(
            metering_service_pb2.MeterResponse(
                answered_through=last, grants_valid_for=Duration(seconds=VALID_S), grants=grants
            )
        )

    def said(self) -> list[report_pb2.TokenReport]:
        """What is sent now."""
        message = self.session.outbox.take(self.now_ns)
        return [] if message is None else list(message.reports)

    def hear(
        self,
        *,
        grant: tuple[RequestState, int] | None = None,
        deny: RequestState | None = None,
        is_final: bool = False,
        durable: bool = False,
    ) -> list[report_pb2.TokenReport]:
        """Everything is sent, and answered at once; returns what was sent."""
        said = self.said()
        outbox = self.session.outbox
        last = outbox._next_sequence - 1
        response = metering_service_pb2.MeterResponse(
            answered_through=last, durable_through=last if durable else 0, grants_valid_for=Duration(seconds=VALID_S)
        )
        if grant is not None:
            state, ceiling = grant
            given = decision_pb2.Grant(
                output_ceiling_tokens=ceiling, valid_for=Duration(seconds=VALID_S), is_final=is_final, resume=b"token"
            )
            response.decisions.add(
                request_id=state.request_id, sequence=last, verdict=decision_pb2.VERDICT_ALLOW, grant=given
            )
        if deny is not None:
            response.decisions.add(
                request_id=deny.request_id,
                verdict=decision_pb2.VERDICT_DENY,
                reason=decision_pb2.DECISION_REASON_SUSPENDED,
                message="Stop now.",
            )
        self.session.receive(response)
        return said

    def lose_stream(self) -> None:
        """The stream broke, and the next one begins."""
        self.session.outbox.restart(self.session.requests.values())

    def pass_time(self, seconds: float) -> None:
        """The clock moves on, and whatever is due by then is called, in order."""
        until_s = self.now_ns / 1e9 + seconds
        while due := [alarm for alarm in self.alarms if not alarm.cancelled and alarm.due_s <= until_s]:
            alarm = min(due, key=lambda alarm: alarm.due_s)
            self.alarms.remove(alarm)
            self.now_ns = max(self.now_ns, round(alarm.due_s * 1e9))
            alarm.call()
        self.now_ns = round(until_s * 1e9)

    def _later(self, seconds: float, call: Callable[[], None]) -> Alarm:
        alarm = Alarm(self.now_ns / 1e9 + seconds, call)
        self.alarms.append(alarm)
        return alarm


def state_of(request: MeteredRequest) -> RequestState:
    """What a handle holds."""
    return request._state


def allowing(**changes: int) -> Desk:
    """A desk of a client that lets requests go on without an answer."""
    return Desk("allow", replace(SETTINGS, **changes))
