"""What a client says is an estimate, and what replaces it."""

from __future__ import annotations

import pytest

from tallygate.client import MeteredRequest, MeteringClient, Usage
from tallygate.client.state import FINISH, PROGRESS
from tests.harness.client.session_harness import SERVICE, Desk, state_of


def estimating(desk: Desk) -> MeteredRequest:
    """A request that counts pieces of text, past half of its grant."""
    request = desk.granted(100)
    state_of(request).estimated = True
    request.output(60)
    return request


def test_the_flag_is_the_requests() -> None:
    """Counting costs nothing for it."""
    client = MeteringClient("127.0.0.1:7402")
    assert state_of(client.request(SERVICE, estimated=True)).estimated
    assert not state_of(client.request(SERVICE)).estimated


def test_pieces_are_said_to_be_an_estimate() -> None:
    """On progress, and once more after a reconnect; what counts tokens says none."""
    desk = Desk()
    counting = desk.granted(100, 2)
    estimating(desk)
    counting.output(60)
    for _ in range(2):
        said = {report.request_id: report for report in desk.said()}
        assert {name: (report.phase, report.estimated) for name, report in said.items()} == {
            "r1": (PROGRESS, True),
            "r2": (PROGRESS, False),
        }
        desk.lose_stream()


def test_a_finish_says_exactly_what_it_is_given() -> None:
    """Fewer than were counted, and so it says again on the next stream."""
    desk = Desk()
    request = estimating(desk)
    desk.hear()
    request.finish(Usage(input_tokens=9, output_tokens=4, reasoning_tokens=1))
    for _ in range(2):
        (report,) = desk.said()
        usage = report.usage
        assert (report.phase, report.estimated) == (FINISH, False)
        assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (9, 4, 1)
        desk.lose_stream()


@pytest.mark.parametrize(
    ("usage", "estimated", "said"),
    [
        (None, None, True),
        (None, False, False),
        (Usage(output_tokens=4), None, False),
        (Usage(output_tokens=4), True, True),
    ],
)
def test_an_estimate_stays_one_unless_better_counts_are_given(
    usage: Usage | None, said: bool, *, estimated: bool | None
) -> None:
    """By default; the caller may know better."""
    desk = Desk()
    request = estimating(desk)
    desk.hear()
    request.finish(usage, estimated=estimated)
    (report,) = desk.said()
    assert report.estimated is said


def test_running_usage_ends_the_estimate() -> None:
    """It replaces the pieces, is said though nothing more was generated, and the finish without counts is exact."""
    desk = Desk()
    request = estimating(desk)
    desk.hear()
    request.set_usage(Usage(input_tokens=10, output_tokens=60))
    request.report()
    (progress,) = desk.said()
    assert (progress.phase, progress.estimated, progress.usage.output_tokens) == (PROGRESS, False, 60)
    request.finish()
    (finish,) = desk.said()
    assert (finish.phase, finish.estimated, finish.usage.output_tokens) == (FINISH, False, 60)


def test_what_is_withdrawn_used_nothing_for_certain() -> None:
    """A hold that nobody wanted in the end goes back, whatever its input was estimated at."""
    desk = Desk()
    state = desk.state()
    state.estimated = True
    desk.hear()
    desk.session.withdraw(state)
    (report,) = desk.said()
    assert (report.phase, report.estimated, report.usage.input_tokens) == (FINISH, False, 0)
