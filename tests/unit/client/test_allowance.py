"""How far requests may go: renewal ahead of need, validity, ceilings, stops, and what goes on without an answer."""

from __future__ import annotations

import pytest

from tallygate.client import Unreachable
from tallygate.metering.v1 import report_pb2
from tests.harness.client.session_harness import Desk, allowing, state_of


def test_a_token_inside_the_grant_is_counted_and_nothing_else() -> None:
    """Up to half of the grant nothing is said and nothing is looked at."""
    desk = Desk()
    request = desk.granted(100)
    for _ in range(50):
        request.output()

    assert desk.said() == []
    assert (request.usage.output_tokens, request.free_tokens, request.must_stop) == (50, 50, False)


def test_a_grant_is_renewed_ahead_of_need() -> None:
    """The first token past half asks, once; the answer comes while half of the grant is still free."""
    desk = Desk()
    request = desk.granted(100)
    for _ in range(60):
        request.output()

    assert [report.usage.output_tokens for report in desk.hear(grant=(state_of(request), 200))] == [51]
    assert request.free_tokens == 140


def test_small_renewals_are_not_piled_up() -> None:
    """Where a node adds little to much, the next report waits until half of that little is used."""
    desk = Desk()
    request = desk.granted(1_000)
    request.output(600)
    desk.hear(grant=(state_of(request), 1_016))
    assert desk.said() == []

    request.output(200)
    assert desk.said() == []
    request.output(9)
    assert [report.usage.output_tokens for report in desk.said()] == [809]


def test_many_tokens_at_once_are_one_report() -> None:
    """Counting in large steps asks as counting one by one does."""
    desk = Desk()
    request = desk.granted(100)
    request.output(99)

    assert [report.usage.output_tokens for report in desk.said()] == [99]
    assert request.free_tokens == 1


def test_reasoning_tokens_count_towards_the_ceiling() -> None:
    """The ceiling counts the whole output class; the kinds are disjoint."""
    desk = Desk()
    request = desk.granted(100)
    request.output(30, reasoning=40)
    request.output(0, reasoning=1)

    (report,) = desk.said()
    assert (report.usage.output_tokens, report.usage.reasoning_tokens) == (30, 40)
    assert (request.usage.output_tokens, request.usage.reasoning_tokens, request.free_tokens) == (30, 41, 29)


def test_a_final_grant_stops_exactly_at_its_ceiling() -> None:
    """Nothing is asked for, and must_stop turns true with the last token."""
    desk = Desk()
    request = desk.granted(100, is_final=True)
    request.output(99)
    assert not request.must_stop
    request.output()

    assert request.must_stop
    assert (request.free_tokens, request.denial) == (0, None)
    assert desk.said() == []


def test_an_unasked_denial_stops_at_once() -> None:
    """Whatever the grant still allows; tokens generated meanwhile are counted nevertheless."""
    desk = Desk()
    request = desk.granted(100)
    desk.hear(deny=state_of(request))
    request.output(3)

    assert request.must_stop
    assert request.denial is not None
    assert (request.denial.reason, request.free_tokens, request.usage.output_tokens) == ("SUSPENDED", 0, 3)


def test_past_a_ceiling_that_is_not_final_it_asks_and_waits() -> None:
    """A renewal under way does not stop a request; it goes on once the grant comes."""
    desk = Desk()
    request = desk.granted(100)
    for _ in range(101):
        request.output()
    assert [report.usage.output_tokens for report in desk.said()] == [51, 100]
    assert (request.free_tokens, request.must_stop) == (0, False)

    desk.hear(grant=(state_of(request), 200))
    assert (request.free_tokens, request.must_stop) == (99, False)


def test_a_node_that_gives_no_more_stops_it() -> None:
    """Its report at the ceiling was answered, and nothing is free: waiting would not help."""
    desk = Desk()
    request = desk.granted(100)
    request.output(100)
    desk.hear()

    assert request.must_stop


def test_what_was_counted_since_the_report_is_said_before_giving_up() -> None:
    """An answer to an older count is no answer to this one."""
    desk = Desk()
    request = desk.granted(100)
    request.output(100)
    said = desk.said()
    request.output(20)
    desk.hear()

    assert not request.must_stop
    assert [report.usage.output_tokens for report in [*said, *desk.hear()]] == [100, 120]
    assert request.must_stop


def test_at_a_ceiling_that_nobody_renews_it_stops_after_a_while() -> None:
    """must_stop turns true once answer_ms has passed, and false again when a node gives more."""
    desk = Desk()
    request = desk.granted(100)
    desk.lose_stream()
    request.output(100)
    desk.pass_time(4.9)
    assert not request.must_stop
    desk.pass_time(0.2)
    assert request.must_stop

    desk.hear(grant=(state_of(request), 200))
    assert (request.must_stop, request.free_tokens) == (False, 100)


def test_validity_ends_without_anybody_counting() -> None:
    """The session's timer looks: nothing is free from that moment, and answer_ms later it must stop."""
    desk = Desk()
    request = desk.granted(100)
    desk.lose_stream()
    desk.pass_time(19.9)
    assert (request.free_tokens, request.must_stop) == (100, False)
    desk.pass_time(0.2)
    assert (request.free_tokens, request.must_stop) == (0, False)
    desk.pass_time(5)
    assert request.must_stop


def test_an_answer_renews_what_had_lapsed() -> None:
    """The watermark with its renewal suffices."""
    desk = Desk()
    request = desk.granted(100)
    desk.pass_time(26)
    assert request.must_stop

    desk.hear()
    assert (request.free_tokens, request.must_stop) == (100, False)


def test_a_renewed_grant_outlives_its_stream() -> None:
    """What a stream had renewed still holds after it broke, and no longer than it had said."""
    desk = Desk()
    request = desk.granted(100)
    desk.pass_time(15)
    request.report()
    request.output(1)
    request.report()
    desk.hear()
    desk.lose_stream()
    desk.pass_time(19.9)
    assert request.free_tokens == 99
    desk.pass_time(0.2)
    assert request.free_tokens == 0


def test_one_timer_serves_all_requests() -> None:
    """However many run and lapse, one alarm is set."""
    desk = Desk()
    requests = [desk.granted(100, number) for number in range(50)]
    desk.lose_stream()
    assert len([alarm for alarm in desk.alarms if not alarm.cancelled]) == 1

    desk.pass_time(21)
    assert {request.free_tokens for request in requests} == {0}
    assert len([alarm for alarm in desk.alarms if not alarm.cancelled]) == 1


def test_without_an_answer_a_bounded_number_of_tokens_goes_on_for_all_together() -> None:
    """Input and output count; what is left over is too little for the next one."""
    desk = allowing(unreachable_tokens_max=1_000)
    first = desk.lent(1, input_tokens=400)
    second = desk.lent(2, input_tokens=300)

    assert first is not None
    assert second is not None
    assert (first.free_tokens, second.free_tokens) == (256, 44)
    assert desk.lent(3, input_tokens=0) is None
    second.output(44)
    assert second.must_stop


def test_denying_is_what_a_client_does_unless_told() -> None:
    """Nothing goes on without an answer."""
    assert Desk().lent() is None


def test_more_is_lent_as_it_is_used() -> None:
    """A request takes a little at a time, until all is used up; then it must stop."""
    desk = allowing(unreachable_tokens_max=1_010)
    request = desk.lent(input_tokens=10)
    assert request is not None
    while not request.must_stop:
        request.output()

    assert request.usage.output_tokens == 1_000


def test_what_was_not_used_comes_back_at_the_finish_and_the_rest_when_it_is_on_record() -> None:
    """So an outage that lasts cannot use more than the bound, and one that is over leaves nothing behind."""
    desk = allowing(unreachable_tokens_max=1_000)
    request = desk.lent(input_tokens=100)
    assert request is not None
    request.output(50)
    request.finish()
    second = desk.lent(2, input_tokens=800)
    assert second is not None
    assert second.free_tokens == 50
    second.finish()

    said = [report for report in desk.hear(durable=True) if report.request_id == "r1"]
    assert [report.phase for report in said] == [report_pb2.REPORT_PHASE_AUTHORIZE, report_pb2.REPORT_PHASE_FINISH]
    assert (said[-1].usage.input_tokens, said[-1].usage.output_tokens) == (100, 50)
    third = desk.lent(3, input_tokens=900)
    assert third is not None
    assert third.free_tokens == 100


def test_a_node_that_is_back_takes_a_request_on() -> None:
    """The next stream authorises it as it is; with a grant it is as any other, and what it was lent comes back."""
    desk = allowing(unreachable_tokens_max=1_000)
    request = desk.lent()
    assert request is not None
    request.output(200)
    desk.lose_stream()
    said = desk.hear(grant=(state_of(request), 1_024))

    assert [(report.phase, report.usage.output_tokens) for report in said] == [(report_pb2.REPORT_PHASE_AUTHORIZE, 200)]
    assert request.free_tokens == 824
    other = desk.lent(2, input_tokens=900)
    assert other is not None
    assert other.free_tokens == 100


def test_a_node_that_is_back_may_say_no() -> None:
    """Then it stops, and its finish has its tokens recorded."""
    desk = allowing()
    request = desk.lent()
    assert request is not None
    request.output(20)
    desk.lose_stream()
    desk.hear(deny=state_of(request))
    assert request.must_stop

    request.finish()
    (report,) = desk.hear(durable=True)
    assert (report.phase, report.usage.output_tokens) == (report_pb2.REPORT_PHASE_FINISH, 20)


async def test_waiting_for_room_tells_a_stop_from_silence() -> None:
    """After answer_ms without a node it is Unreachable; once a node has said no it is 0, and denial says why."""
    desk = Desk()
    request = desk.granted(100)
    desk.lose_stream()
    request.output(100)
    desk.pass_time(5.1)
    with pytest.raises(Unreachable):
        await request.wait_for_tokens()

    desk.hear(deny=state_of(request))
    assert await request.wait_for_tokens() == 0
    assert request.denial is not None


def test_a_running_request_goes_on_when_its_node_is_gone() -> None:
    """At its ceiling, and after answer_ms, it takes on credit, as far as that goes."""
    desk = allowing(unreachable_tokens_max=300)
    request = desk.granted(100)
    desk.lose_stream()
    request.output(100)
    assert request.free_tokens == 0
    desk.pass_time(5.1)
    assert (request.free_tokens, request.must_stop) == (256, False)

    request.output(256)
    assert request.free_tokens == 44
    request.output(44)
    assert request.must_stop
