"""Answers that come as a whole: said once, granted once, and not ended by time once they have started."""

from __future__ import annotations

from typing import Any

import pytest

from tallygate.client.request import MeteredRequest
from tallygate.client.state import AUTHORIZE, FINISH, RequestState
from tests.harness.client.session_harness import SERVICE, VALID_S, Desk, allowing, state_of

SECOND_NS = 1_000_000_000


def whole(desk: Desk, ceiling: int = 1_000, **more: Any) -> MeteredRequest:
    """A whole answer that has started."""
    state = RequestState("r1", SERVICE, input_tokens=10, whole=True, **more)
    desk.session.open(state)
    desk.hear(grant=(state, ceiling), is_final=True)
    return desk.begin(state)


def test_what_is_whole_is_said_when_it_is_authorised_and_never_after() -> None:
    """With how long it is held for, and how little will do."""
    desk = Desk()
    state = RequestState("r1", SERVICE, whole=True, hold_for_s=90.5, min_output_tokens=40, max_output_tokens=500)
    desk.session.open(state)
    (said,) = desk.hear(grant=(state, 500), is_final=True)
    assert (said.phase, said.whole, said.max_output_tokens, said.min_output_tokens) == (AUTHORIZE, True, 500, 40)
    assert said.hold_for.ToNanoseconds() == 90_500_000_000
    request = desk.begin(state)
    assert request.grant is not None
    assert request.grant.output_ceiling_tokens == 500
    request.output(500)
    request.finish()
    (ended,) = desk.said()
    assert (ended.phase, ended.whole) == (FINISH, False)
    assert not ended.HasField("hold_for")
    assert not ended.HasField("min_output_tokens")


def test_nothing_is_said_while_it_runs() -> None:
    """However much of its ceiling is used: there is no renewal."""
    desk = Desk()
    request = whole(desk)
    for _ in range(10):
        request.output(99)
    assert desk.said() == []
    assert (request.free_tokens, request.must_stop) == (10, False)


def test_it_does_not_lapse_once_it_has_started() -> None:
    """Nor is the clock looked at for it: nobody could stop it."""
    desk = Desk()
    request = whole(desk)
    desk.now_ns += 100 * VALID_S * SECOND_NS
    desk.session.allowance.sweep()
    assert (request.free_tokens, request.must_stop) == (1_000, False)
    assert all(alarm.cancelled or alarm.due_s <= desk.now_ns / SECOND_NS for alarm in desk.alarms)


def test_after_a_break_it_says_again_that_it_is_whole() -> None:
    """And for how long it is held, with the token of its grant."""
    desk = Desk()
    request = whole(desk, hold_for_s=3_600)
    request.output(10)
    request.report()
    desk.hear()
    state = state_of(request)
    assert state.grant is not None
    state.forget_stream()
    said = state.make_report()
    assert (said.phase, said.whole, said.hold_for.seconds) == (AUTHORIZE, True, 3_600)
    assert said.resume == state.grant.resume


@pytest.mark.parametrize(("limit", "goes_on"), [(None, False), (1_001, False), (990, True), (600, True), (0, True)])
def test_without_a_node_all_of_it_must_fit(limit: int | None, *, goes_on: bool) -> None:
    """Into what may go on without an answer: it cannot be stopped when that is used up."""
    desk = allowing()
    state = RequestState("r1", SERVICE, input_tokens=10, whole=True, max_output_tokens=limit)
    desk.session.open(state)
    assert desk.session.allowance.lend(state) is goes_on
    if goes_on:
        assert state.lent_ceiling_tokens == limit
