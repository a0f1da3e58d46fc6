"""A pause of the control service under steady load: nothing is denied, and no stream is cut or has to wait."""

from collections.abc import Callable
from typing import TypeAlias

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Grant, Reason
from metering_service.domain.grant import GRANT_TOKENS_MAX
from metering_service.domain.report import Phase
from tests.harness.metering.fake_control import VALID_FOR_NS
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import with_money, with_reservation, with_trial

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
REQUESTS_AT_ONCE = 40
INPUT_TOKENS, OUTPUT_TOKENS = 50, 100
STEP_TOKENS, STEP_MS = 5, 100
BURN_TOKENS = REQUESTS_AT_ONCE * (INPUT_TOKENS + OUTPUT_TOKENS) * 1_000 * STEP_TOKENS // (STEP_MS * OUTPUT_TOKENS)
"""Tokens that all requests together use in a second."""
PAUSE_S = 15


def left_tokens(max_output_tokens: int | None) -> int:
    """What docs/guarantees.md asks for, whatever the number of nodes among which the load is divided evenly."""
    held_tokens = REQUESTS_AT_ONCE * (INPUT_TOKENS + (max_output_tokens or GRANT_TOKENS_MAX))
    return 4 * (20 * BURN_TOKENS + held_tokens)


Make: TypeAlias = Callable[[Fleet, int], object]


class Server:
    """One of the places at which an inference server generates an answer: when one has ended the next one begins."""

    def __init__(self, client: Client, place: int, max_output_tokens: int | None) -> None:
        self.client = client
        self._place = place
        self._max_output_tokens = max_output_tokens
        self._steps_before = place * OUTPUT_TOKENS // STEP_TOKENS // REQUESTS_AT_ONCE
        self.number = 0
        self._output = 0
        self._sequence = 0
        self._grant: Grant | None = None
        self.denials: list[Decision] = []
        self.waits = 0
        """Steps in which it had nothing left of its grant."""

    def step(self) -> None:
        """Generate some tokens, as far as the grant goes; they begin one after the other."""
        if self._steps_before:
            self._steps_before -= 1
            return
        if self._grant is None:
            self._begin()
        if self._grant is None:
            self.waits += 1
            return
        if self._output >= OUTPUT_TOKENS:
            self._say(FINISH)
            self._grant = None
            self._begin()
            return
        if self._output + STEP_TOKENS > self._grant.output_ceiling_tokens:
            self.waits += 1
        else:
            self._output += STEP_TOKENS
        self._say(PROGRESS)

    def hear(self) -> None:
        """Take in what the node has decided."""
        decision = self.client.said(self._sequence)
        if decision is not None and decision.reason is not None:
            self.denials.append(decision)
            self._grant = None
        elif decision is not None and decision.grant is not None:
            self._grant = decision.grant

    def _begin(self) -> None:
        self.number, self._output = self.number + 1, 0
        self._say(AUTHORIZE)

    def _say(self, phase: Phase) -> None:
        counts = Counts(INPUT_TOKENS, output=self._output)
        max_output_tokens = self._max_output_tokens if phase is AUTHORIZE else None
        self.client.say(report(phase, f"r{self._place}-{self.number}", counts, max_output_tokens=max_output_tokens))
        self._sequence = self.client.sequence
        self.hear()


def run(fleet: Fleet, servers: list[Server], seconds: int) -> None:
    """Let all of them generate for so long."""
    for _ in range(seconds * 1_000 // STEP_MS):
        for server in servers:
            server.step()
        fleet.run(ms=STEP_MS)
        for server in servers:
            server.hear()


def loaded(names: tuple[str, ...], make: Make, max_output_tokens: int | None) -> tuple[Fleet, list[Server]]:
    """Nodes under a load that is 5 s old, with as much left as is promised."""
    fleet = Fleet(*names)
    make(fleet, left_tokens(max_output_tokens) + 7 * BURN_TOKENS)
    clients = [Client(fleet[name]) for name in names]
    servers = [Server(clients[place % len(clients)], place, max_output_tokens) for place in range(REQUESTS_AT_ONCE)]
    run(fleet, servers, 7)
    return fleet, servers


@pytest.mark.parametrize(("make", "max_output_tokens"), [(with_money, OUTPUT_TOKENS), (with_trial, None)])
@pytest.mark.parametrize("names", [("a",), ("a", "b", "c")])
def test_a_pause_of_control_is_not_felt(names: tuple[str, ...], make: Make, max_output_tokens: int | None) -> None:
    """Forty requests at once, and control is away for 15 s, with no more than is asked for in the promise."""
    fleet, servers = loaded(names, make, max_output_tokens)
    assert not any(server.denials for server in servers)
    waits = [server.waits for server in servers]
    fleet.control.reachable = False
    run(fleet, servers, PAUSE_S)
    fleet.control.reachable = True
    run(fleet, servers, 2)
    assert not any(server.denials for server in servers)
    assert [server.waits for server in servers] == waits
    assert all(server.number > PAUSE_S // 3 for server in servers)


def test_a_stream_waits_for_control_until_its_grant_is_over(fleet: Fleet, client: Client) -> None:
    """One that has come to the end of its grant is not cut off while control is away, and is renewed with it."""
    with_money(fleet, 10**6)
    ceiling = _begin(fleet, client)
    fleet.control.reachable = False
    client.say(report(PROGRESS, counts=Counts(1, output=ceiling)))
    fleet.run(seconds=VALID_FOR_NS // 1_000_000_000 - 3)
    assert client.said(client.sequence) is None
    fleet.control.reachable = True
    fleet.run(seconds=1)
    renewed = client.said(client.sequence)
    assert renewed is not None
    assert renewed.allowed


def test_a_stream_is_cut_when_its_grant_is_over(fleet: Fleet, client: Client) -> None:
    """Beyond it nobody knows whose the rest is."""
    with_money(fleet, 10**6)
    ceiling = _begin(fleet, client)
    fleet.control.reachable = False
    client.say(report(PROGRESS, counts=Counts(1, output=ceiling)))
    fleet.run(seconds=VALID_FOR_NS // 1_000_000_000 + 1)
    cut = client.said(client.sequence)
    assert cut is not None
    assert cut.reason is Reason.CONTROL_UNREACHABLE


def _begin(fleet: Fleet, client: Client) -> int:
    """Begin a request and let its node give back what it does not hold; the ceiling."""
    client.say(report(AUTHORIZE, counts=Counts(1)))
    fleet.run(seconds=14)
    begun = client.said(1)
    assert begun is not None
    assert begun.grant is not None
    return begun.grant.output_ceiling_tokens


def test_a_late_answer_is_nobody_elses_doing(fleet: Fleet, client: Client) -> None:
    """Control answers, but not what this request waits for: nobody has said that others have it."""
    with_money(fleet, 10**6)
    client.say(report(AUTHORIZE, "first", Counts(1)))
    fleet.run(seconds=14)
    fleet["a"].exchange_leases = lambda: None  # type: ignore[method-assign]  # it is on its way, and takes long
    client.say(report(AUTHORIZE, "second", Counts(1)))
    fleet.run(ms=1_200)
    denial = client.said(client.sequence)
    assert denial is not None
    assert denial.reason is Reason.CONTROL_UNREACHABLE


def test_what_control_has_confirmed_is_contention(fleet: Fleet, client: Client) -> None:
    """Another node has the rest on lease, and does not give it back in time."""
    with_trial(fleet, 1_000)
    fleet.start("b")
    Client(fleet["b"]).say(report(AUTHORIZE, "there", Counts(900), whole=True, max_output_tokens=50))
    client.say(report(AUTHORIZE, "here", Counts(400)))
    fleet.run(ms=1_500)
    denial = client.said(client.sequence)
    assert denial is not None
    assert denial.reason is Reason.BUDGET_CONTENDED


def test_a_reservation_that_is_nearly_used_up_refuses(fleet: Fleet, client: Client) -> None:
    """A grant under the smallest request would be the last one: better none now, and one of use in a moment."""
    with_reservation(fleet, 60)
    decisions = [_authorise(fleet, client, f"r{number}") for number in range(5)]
    ceilings = [decision.grant.output_ceiling_tokens for decision in decisions if decision.grant is not None]
    assert 2 <= len(ceilings) <= 3
    assert min(ceilings) >= 16
    refused = decisions[-1]
    assert (refused.reason, refused.retryable) == (Reason.RESERVATION_EXCEEDED, True)
    assert refused.retry_after_ms is not None
    assert 1_000 < refused.retry_after_ms <= 16_000
    for number in range(len(ceilings)):
        client.say(report(FINISH, f"r{number}", Counts(1, output=16)))
    fleet.run(seconds=refused.retry_after_ms // 1_000 + 1)
    assert _authorise(fleet, client, "again").allowed


def _authorise(fleet: Fleet, client: Client, request_id: str) -> Decision:
    client.say(report(AUTHORIZE, request_id, Counts(1)))
    fleet.run(ms=400)
    decision = client.said(client.sequence)
    assert decision is not None
    return decision
