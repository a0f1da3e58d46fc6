"""The outbox: batching, numbering, watermarks and validity, without clock or socket."""

from __future__ import annotations

from tallygate.client.outbox import REPORTS_PER_MESSAGE_MAX, UNSENT_MAX, Outbox
from tallygate.client.state import FINISH, PROGRESS, RequestState
from tallygate.client.values import Grant
from tallygate.metering.v1 import report_pb2

SECOND_NS = 1_000_000_000
SERVICE = "accounts/acme/services/chat"


def outbox() -> Outbox:
    """Returns an empty one."""
    return Outbox(heartbeat_ns=SECOND_NS)


def request(number: int = 1) -> RequestState:
    """Returns a new request."""
    return RequestState(request_id=f"r{number}", service=SERVICE, input_tokens=10, max_output_tokens=500)


def advance(box: Outbox, *, answered: int, durable: int = 0, now_ns: int = 0) -> list[RequestState]:
    """Moves the watermarks, with grants valid for 20 s."""
    return box.advance(answered=answered, durable=durable, valid_for_ns=20 * SECOND_NS, now_ns=now_ns)


def test_what_gathered_leaves_in_one_message_numbered_without_gaps() -> None:
    """Reports that gathered make one message; the next one goes on counting."""
    box = outbox()
    for number in range(5):
        box.queue(request(number))
    first = box.take(0)
    box.queue(request(9))
    second = box.take(0)

    assert first is not None
    assert second is not None
    assert (first.first_sequence, len(first.reports)) == (1, 5)
    assert (second.first_sequence, len(second.reports)) == (6, 1)
    assert box.take(0) is None


def test_a_message_is_bounded() -> None:
    """More reports than a message holds go in several."""
    box = outbox()
    for number in range(REPORTS_PER_MESSAGE_MAX + 1):
        box.queue(request(number))

    sizes = [len(message.reports) for message in (box.take(0), box.take(0)) if message is not None]
    assert sizes == [REPORTS_PER_MESSAGE_MAX, 1]


def test_the_service_is_said_once_per_stream() -> None:
    """The first report names the service and its limits; later ones leave them out."""
    box = outbox()
    state = request()
    box.queue(state)
    state.phase = PROGRESS
    box.queue(state)

    message = box.take(0)
    assert message is not None
    assert [report.service for report in message.reports] == [SERVICE, ""]
    assert [report.HasField("max_output_tokens") for report in message.reports] == [
        True,
        False,
    ]


def test_unsent_progress_merges_beyond_the_bound() -> None:
    """A caller that reports faster than the network takes it loses no counts and needs no more memory."""
    box = outbox()
    state = request()
    state.phase = PROGRESS
    for tokens in range(UNSENT_MAX + 1_000):
        state.generated_tokens = tokens
        box.queue(state)

    assert len(box) == UNSENT_MAX
    last = None
    while (message := box.take(0)) is not None:
        last = message.reports[-1]
    assert last is not None
    assert last.usage.output_tokens == UNSENT_MAX + 999


def test_a_merged_report_still_introduces_its_request() -> None:
    """Merging keeps the service and the resume token that the replaced report had carried."""
    box = outbox()
    for number in range(UNSENT_MAX - 1):
        box.queue(request(number))
    state = request(UNSENT_MAX)
    state.phase = PROGRESS
    state.grant = Grant(100, False, 0, b"token")
    box.queue(state)
    state.generated_tokens = 7
    box.queue(state)

    reports: list[report_pb2.TokenReport] = []
    while (message := box.take(0)) is not None:
        reports.extend(message.reports)
    assert len(reports) == UNSENT_MAX
    assert (
        reports[-1].service,
        reports[-1].resume,
        reports[-1].usage.output_tokens,
    ) == (SERVICE, b"token", 7)


def test_finishes_leave_when_they_are_durable() -> None:
    """Only what durable_through has passed is done, whatever was answered."""
    box = outbox()
    states = [request(number) for number in range(3)]
    for state in states:
        state.phase = FINISH
        box.queue(state)
    box.take(0)

    assert advance(box, answered=3) == []
    assert advance(box, answered=3, durable=2) == states[:2]
    assert advance(box, answered=3, durable=3) == states[2:]


def test_watermarks_only_grow() -> None:
    """A late message with lower watermarks changes nothing."""
    box = outbox()
    advance(box, answered=5, durable=4)
    advance(box, answered=2, durable=1)

    assert (box.answered_through, box.durable_through) == (5, 4)


def test_restart_says_the_latest_of_each_request_again() -> None:
    """A new stream begins at 1, names services anew and brings along each request's last grant."""
    box = outbox()
    running, finished = request(1), request(2)
    for state in (running, finished):
        box.queue(state)
        state.grant = Grant(100, False, 0, state.request_id.encode())
    running.phase, running.generated_tokens = PROGRESS, 40
    finished.phase, finished.generated_tokens = FINISH, 70
    box.queue(running)
    box.queue(finished)
    box.take(0)
    advance(box, answered=4)

    box.restart([running, finished])
    message = box.take(0)

    assert message is not None
    assert message.first_sequence == 1
    said = [(r.request_id, r.phase, r.service, r.resume, r.usage.output_tokens) for r in message.reports]
    assert said == [
        ("r1", PROGRESS, SERVICE, b"r1", 40),
        ("r2", FINISH, SERVICE, b"r2", 70),
    ]
    assert advance(box, answered=2, durable=2) == [finished]


def test_validity_counts_from_when_the_answered_message_was_sent() -> None:
    """A renewal is as old as the last message that it answers."""
    box = outbox()
    state = request(1)
    box.queue(state)
    box.take(3 * SECOND_NS)
    box.queue(request(2))
    box.take(9 * SECOND_NS)

    advance(box, answered=1, now_ns=10 * SECOND_NS)
    assert box.renewed_until_ns(state) == 23 * SECOND_NS
    advance(box, answered=2, now_ns=11 * SECOND_NS)
    assert box.renewed_until_ns(state) == 29 * SECOND_NS


def test_a_heartbeat_renews_only_once_it_must_have_been_heard() -> None:
    """What arrives right after a heartbeat may answer its forerunner, so that heartbeat does not count yet."""
    box = outbox()
    state = request()
    box.queue(state)
    box.take(0)
    advance(box, answered=1, now_ns=1)
    box.heartbeat(5 * SECOND_NS)

    advance(box, answered=1, now_ns=5 * SECOND_NS + 1)
    assert box.renewed_until_ns(state) == 20 * SECOND_NS
    advance(box, answered=1, now_ns=6 * SECOND_NS)
    assert box.renewed_until_ns(state) == 25 * SECOND_NS


def test_an_unanswered_request_is_not_renewed() -> None:
    """The renewal of a new stream does not carry requests that the node has not taken on yet."""
    box = outbox()
    first, second = request(1), request(2)
    box.queue(first)
    box.take(0)
    box.queue(second)
    box.take(0)
    advance(box, answered=1, now_ns=1)

    assert box.renewed_until_ns(first) == 20 * SECOND_NS
    assert box.renewed_until_ns(second) == 0


def test_an_abandoned_request_is_not_said() -> None:
    """What was given up before it was sent leaves no gap in the numbers."""
    box = outbox()
    given_up, kept = request(1), request(2)
    box.queue(given_up)
    box.queue(kept)
    given_up.abandoned = True

    message = box.take(0)
    assert message is not None
    assert [report.request_id for report in message.reports] == ["r2"]
    assert kept.last_sequence == 1
