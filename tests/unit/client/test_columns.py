"""Progress in columns: who is bound when, what leaves as an entry, and what goes by report all the same."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import pytest

from tallygate.client import Forked, MeteredRequest, Usage, fork
from tallygate.client.columns import Columns
from tallygate.client.outbox import ENTRIES_PER_MESSAGE_MAX
from tallygate.client.state import FINISH, PROGRESS
from tallygate.metering.v1 import columns_pb2, metering_service_pb2
from tests.harness.client.session_harness import SETTINGS, Desk, state_of

MANY = replace(SETTINGS, open_requests_max=10_000)
Message = metering_service_pb2.MeterRequest


def entries(message: Message) -> list[tuple[int, int]]:
    """Handles and output of a message's columns."""
    return list(zip(message.columns.handles, message.columns.output_tokens, strict=True))


def test_progress_of_a_bound_request_is_an_entry_with_its_latest_count() -> None:
    """However often it is reported until the message leaves."""
    desk = Desk()
    request = desk.bound()
    for _ in range(3):
        request.output(2)
        request.report()

    message = desk.message()
    assert (entries(message), list(message.reports)) == ([(1, 6)], [])
    assert message.first_sequence == 2
    assert not len(desk.session.outbox)


def test_an_authorisation_binds_once_the_node_has_offered_columns() -> None:
    """One that was sent before binds with its next report of progress."""
    desk = Desk()
    before, after = desk.state(1), None
    (first,) = desk.hear(grant=(before, 1_000))
    request = desk.begin(before)
    desk.offer_columns()
    after = desk.state(2)
    (second,) = desk.hear(grant=(after, 1_000))
    request.output(5)
    request.report()
    (progress,) = desk.hear()
    request.output(5)
    request.report()

    assert (first.handle, second.handle, progress.handle, progress.phase) == (0, 1, 2, PROGRESS)
    assert entries(desk.message()) == [(2, 10)]


def test_an_old_node_is_told_by_reports() -> None:
    """It would take columns for a heartbeat, and knows no handles."""
    desk = Desk()
    request = desk.granted(1_000)
    request.output(5)
    request.report()

    message = desk.message()
    assert not message.HasField("columns")
    assert [(report.usage.output_tokens, report.handle) for report in message.reports] == [(5, 0)]


def test_no_entry_speaks_of_a_binding_that_is_not_answered() -> None:
    """The request waits for nothing: its progress goes by report, which does not bind it again."""
    desk = Desk()
    desk.offer_columns()
    state = desk.state()
    message = desk.message()
    desk.allow(state, 1_000)
    request = desk.begin(state)
    request.output(5)
    request.report()

    assert message.reports[0].handle == 1
    (report,) = desk.message().reports
    assert (report.usage.output_tokens, report.handle) == (5, 0)


def test_entries_are_ascending_and_numbered_before_reports() -> None:
    """In whatever order requests report."""
    desk = Desk()
    requests = [desk.bound(1_000, number) for number in range(4)]
    for request in reversed(requests):
        request.output(5)
        request.report()
    requests[1].finish()

    message = desk.message()
    assert [handle for handle, _ in entries(message)] == [1, 3, 4]
    assert [report.phase for report in message.reports] == [FINISH]
    last = message.first_sequence + 3
    assert [state_of(request).last_sequence for request in (requests[0], requests[3], requests[1])] == [
        last - 3,
        last - 1,
        last,
    ]


def test_a_message_has_an_end_for_entries_and_reports_together() -> None:
    """Reports keep their room, however many entries there are."""
    desk = Desk(settings=MANY)
    desk.offer_columns(10_000)
    states = [desk.state(number) for number in range(ENTRIES_PER_MESSAGE_MAX + 10)]
    while len(desk.session.outbox):
        assert desk.message().reports
    for state in states:
        desk.allow(state, 1_000)
    desk.answer()
    for request in [desk.begin(state) for state in states]:
        request.output()
        request.report()
    late = desk.state(9_999)

    first, second = desk.message(), desk.message()
    assert (len(first.columns.handles), len(first.reports)) == (ENTRIES_PER_MESSAGE_MAX - 1, 1)
    assert first.reports[0].request_id == late.request_id
    assert (len(second.columns.handles), second.first_sequence) == (11, first.first_sequence + ENTRIES_PER_MESSAGE_MAX)


def test_more_requests_than_handles_are_told_by_reports() -> None:
    """A handle comes back once a finish is on record, and goes to whoever reports next."""
    desk = Desk()
    desk.offer_columns(1)
    first, second = desk.granted(1_000, 1), desk.granted(1_000, 2)
    assert (state_of(first).handle, state_of(second).handle) == (1, 0)
    first.finish()
    desk.hear()
    second.output()
    second.report()
    assert [report.handle for report in desk.hear(durable=True)] == [0]
    second.output()
    second.report()
    assert [report.handle for report in desk.hear()] == [1]


def test_reasoning_is_a_column_only_where_it_changed() -> None:
    """Left out, it is as this stream has said it last."""
    desk = Desk()
    first, second = desk.bound(1_000, 1), desk.bound(1_000, 2)
    said: list[tuple[list[int], list[int]]] = []
    for reasoning in (0, 4, 0):
        for request in (first, second):
            request.output(5, reasoning=reasoning if request is second else 0)
            request.report()
        columns = desk.message().columns
        said.append((list(columns.output_tokens), list(columns.reasoning_tokens)))

    assert said == [([5, 5], []), ([10, 10], [0, 4]), ([15, 15], [])]


def test_counts_that_were_corrected_say_their_reasoning_each_time() -> None:
    """A node may have kept the kinds that were said before, since their total was greater."""
    desk = Desk()
    request = desk.bound()
    request.output(50)
    request.report()
    desk.message()
    request.set_usage(Usage(10, output_tokens=10, reasoning_tokens=30))
    for _ in range(2):
        request.output(20)
        request.report()
        assert list(desk.message().columns.reasoning_tokens) == [30]


def test_cumulative_counts_go_by_entries_while_only_the_output_grows() -> None:
    """A server that sets its counts at each step pays no more; a new count of the input goes by name, once."""
    desk = Desk()
    request = desk.bound()
    request.set_usage(Usage(10, output_tokens=5))
    request.report()
    assert entries(desk.message()) == [(1, 5)]
    request.set_usage(Usage(2, 8, output_tokens=6))
    request.report()
    (report,) = desk.message().reports
    assert (report.usage.cached_input_tokens, report.usage.output_tokens) == (8, 6)
    request.set_usage(Usage(2, 8, output_tokens=7))
    request.report()
    assert entries(desk.message()) == [(1, 7)]


def test_an_estimate_is_said_by_name_before_entries_grow_it() -> None:
    """An authorisation does not say it."""
    desk = Desk()
    request = desk.bound()
    request.set_usage(Usage(10, output_tokens=5), estimated=True)
    request.report()
    (report,) = desk.message().reports
    assert (report.estimated, report.usage.output_tokens) == (True, 5)
    request.output(1)
    request.report()
    assert entries(desk.message()) == [(1, 6)]


def test_a_denied_request_is_told_by_reports() -> None:
    """What had been marked before is said by name, too, and nothing is lost."""
    desk = Desk()
    request = desk.bound()
    request.output(5)
    request.report()
    desk.stop(state_of(request))

    message = desk.message()
    assert (entries(message), [report.usage.output_tokens for report in message.reports]) == ([], [5])
    request.output(1)
    request.report()
    assert [report.usage.output_tokens for report in desk.message().reports] == [6]


def test_a_count_that_no_entry_can_hold_goes_by_report() -> None:
    """The node says what is wrong with it, and its neighbours are not affected."""
    desk = Desk()
    request, other = desk.bound(number=1), desk.bound(number=2)
    request.output(1 << 40)
    other.output(1)
    for each in (request, other):
        each.report()

    message = desk.message()
    assert entries(message) == [(2, 1)]
    assert [report.usage.output_tokens for report in message.reports] == [1 << 40]


def test_a_renewal_is_requested_by_an_entry_and_answered_in_columns() -> None:
    """The grant is raised, valid as the stream says, and its token goes along after a break."""
    desk = Desk()
    request = desk.bound(100)
    request.output(60)
    assert entries(desk.message()) == [(1, 60)]
    grants = columns_pb2.GrantColumns(sequences=[2], handles=[1], output_ceiling_tokens=[300], resume=[b"raised"])
    desk.answer(grants)
    assert (request.free_tokens, request.must_stop) == (240, False)
    desk.lose_stream()
    assert [(report.resume, report.phase) for report in desk.message().reports] == [(b"raised", PROGRESS)]


@pytest.mark.parametrize(
    "grants",
    [
        columns_pb2.GrantColumns(sequences=[2], handles=[10], output_ceiling_tokens=[300], resume=[b"x"]),
        columns_pb2.GrantColumns(sequences=[2], handles=[-1], output_ceiling_tokens=[300], resume=[b"x"]),
        columns_pb2.GrantColumns(sequences=[1], handles=[1], output_ceiling_tokens=[300], resume=[b"x"]),
        columns_pb2.GrantColumns(sequences=[2], handles=[1], output_ceiling_tokens=[90], resume=[b"x"]),
    ],
)
def test_a_raised_grant_of_nobody_changes_nothing(grants: columns_pb2.GrantColumns) -> None:
    """Of a handle that is not bound, of what was said before it was bound, or below the ceiling that is known."""
    desk = Desk()
    request = desk.bound(100)
    request.output(10)
    request.report()
    desk.message()
    desk.answer(grants)
    assert request.free_tokens == 90


def test_at_its_ceiling_it_stops_only_once_its_entry_is_answered() -> None:
    """And then it does, if the node gave no more."""
    desk = Desk()
    request = desk.bound(100)
    request.output(100)
    assert not request.must_stop
    desk.message()
    desk.session.receive(metering_service_pb2.MeterResponse(answered_through=1))
    assert not request.must_stop
    desk.answer()
    assert request.must_stop


def test_after_a_break_all_is_said_by_name_and_bound_anew() -> None:
    """What was marked on the old stream is in that report, and handles of the old stream mean nothing."""
    desk = Desk()
    request = desk.bound()
    request.output(5)
    request.report()
    desk.lose_stream()
    (report,) = desk.message().reports
    assert (report.usage.output_tokens, report.resume, report.handle) == (5, b"token", 0)
    assert not len(desk.session.outbox)

    desk.offer_columns()
    messages: list[Message] = []
    for _ in range(2):
        request.output()
        request.report()
        messages.append(desk.message())
        desk.answer()
    assert [[each.usage.output_tokens for each in message.reports] for message in messages] == [[6], []]
    assert [entries(message) for message in messages] == [[], [(1, 7)]]


def test_an_early_report_does_not_put_off_the_renewal() -> None:
    """That is due past half of the grant, whatever was reported before."""
    for request in (Desk().granted(100), Desk().bound(100)):
        request.output(10)
        request.report()
        request._session.outbox.take(0)
        request.output(50)
        assert len(request._session.outbox) == 1


def test_a_forked_child_is_refused_before_it_marks_anything() -> None:
    """Marks are looked at by the parent alone."""
    desk = Desk()
    request = desk.bound()
    request.output(1)
    fork.watch(desk.session)
    fork.disown(1)
    with pytest.raises(Forked):
        request.report()


def test_a_client_that_hung_up_takes_no_report() -> None:
    """Nobody would send it."""
    desk = Desk()
    request = desk.bound()
    desk.session.outbox.hang_up(desk.session.requests.values())
    request.output(1)
    request.report()
    assert [report.usage.output_tokens for report in desk.message().reports] == [1]


def test_threads_that_count_lose_nothing_to_the_loop_that_sends() -> None:
    """A count that grows while a message is made is in that message or in a later one."""
    desk = Desk(settings=MANY)
    requests = [desk.bound(10_000_000, number) for number in range(8)]
    threads = [threading.Thread(target=_count, args=(request, 3_000)) for request in requests]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    said: dict[int, int] = {}
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) or len(desk.session.outbox):
            message = desk.session.outbox.take(0)
            for handle, output in entries(message) if message is not None else ():
                assert output >= said.get(handle, 0)
                said[handle] = output
            desk.answer()
    finally:
        sys.setswitchinterval(interval_s)
    assert said == dict.fromkeys(range(1, 9), 3_000)


def _count(request: MeteredRequest, tokens: int) -> None:
    for _ in range(tokens):
        request.output()
        request.report()


def test_the_writer_is_woken_once_for_all_that_is_marked_before_it_looks() -> None:
    """A call into another thread's loop costs more than everything else."""
    desk = Desk()
    requests = [desk.bound(1_000, number) for number in range(3)]
    columns: Columns = desk.session.outbox.columns
    woken: list[int] = []
    columns.wake = lambda: woken.append(1)
    columns.is_woken = False
    for request in requests:
        request.output()
        request.report()
    assert woken == [1]


def test_a_mark_that_has_not_left_is_not_answered() -> None:
    """A request whose grant ran out in time asks for a renewal, and does not give up before that has been sent."""
    desk = Desk()
    request = desk.bound(100)
    request.output(10)
    request.report()
    desk.message()
    desk.answer()
    desk.pass_time(21)
    desk.session.allowance.check(state_of(request))
    assert not request.must_stop
    assert entries(desk.message()) == [(1, 10)]
    desk.answer()
    assert request.free_tokens == 90
