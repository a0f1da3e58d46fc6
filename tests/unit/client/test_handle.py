"""What a request's handle refuses, and what a request costs."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from tallygate.client import Forked, MeteredRequest, MeteringClient, MeteringError, Overloaded, Usage, fork
from tallygate.client.session import FINISH_WITHIN_S
from tallygate.client.settings import parse_addresses
from tests.harness.client.session_harness import SERVICE, SETTINGS, Desk

REQUEST_BYTES_MAX = 2_048


def test_counting_needs_an_authorisation() -> None:
    """Tokens of a request that nobody asked for are a mistake of the program, and it is told so."""
    desk = Desk()
    request = MeteredRequest(desk.session, desk.state(), wants_receipt=False)
    with pytest.raises(ValueError, match="was not authorised"):
        request.output()


def test_nothing_is_counted_after_the_finish() -> None:
    """The final counts were said; what comes later would be lost silently."""
    request = Desk().granted(100)
    request.finish()
    with pytest.raises(ValueError, match="was finished before"):
        request.output()
    with pytest.raises(ValueError, match="was finished before"):
        request.finish()


def test_a_finish_leaves_with_what_is_reported_next() -> None:
    """One message has both; where nothing else is reported, it leaves by itself a moment later."""
    desk = Desk()
    request = desk.granted(100)
    due = desk.session.write_is_due
    due.clear()
    request.finish()
    assert not due.is_set()
    desk.state(2)
    assert due.is_set()
    assert [report.request_id for report in desk.said()] == ["r1", "r2"]
    due.clear()
    (alarm,) = [alarm for alarm in desk.alarms if alarm.due_s == FINISH_WITHIN_S]
    alarm.call()
    assert due.is_set()


def test_a_finish_that_has_left_is_not_due_again() -> None:
    """Its alarm would make an empty message, or hurry the next finish, which has all of its time."""
    desk = Desk()
    running = [desk.granted(100, number) for number in (1, 2)]
    running[0].finish()
    desk.state(3)
    desk.session.begin_message()
    assert [report.request_id for report in desk.said()] == ["r1", "r3"]
    due = desk.session.write_is_due
    desk.pass_time(FINISH_WITHIN_S * 0.8)
    running[1].finish()
    desk.pass_time(FINISH_WITHIN_S * 0.8)
    assert not due.is_set()
    desk.pass_time(FINISH_WITHIN_S * 0.4)
    assert due.is_set()


@pytest.mark.parametrize(("tokens", "reasoning"), [(-1, 0), (1, -1)])
def test_counts_only_grow(tokens: int, reasoning: int) -> None:
    """A negative count is a mistake, and changes nothing."""
    request = Desk().granted(100)
    with pytest.raises(ValueError, match="only grow"):
        request.output(tokens, reasoning=reasoning)
    assert request.usage.output_class_tokens == 0


def test_better_counts_replace_those_so_far() -> None:
    """A server that learns late what was cached says so, and its output still counts towards the ceiling."""
    desk = Desk()
    request = desk.granted(100)
    request.set_usage(Usage(input_tokens=2, cached_input_tokens=8, output_tokens=60))

    (report,) = desk.said()
    assert (report.usage.input_tokens, report.usage.cached_input_tokens) == (2, 8)
    assert request.free_tokens == 40


def test_open_requests_are_bounded() -> None:
    """Beyond the bound the error has a reason that a program can read."""
    desk = Desk(settings=replace(SETTINGS, open_requests_max=2))
    desk.granted(100, 1)
    desk.granted(100, 2)
    with pytest.raises(Overloaded) as overloaded:
        desk.granted(100, 3)
    assert (overloaded.value.reason, overloaded.value.retryable) == ("OPEN_REQUESTS_MAX", True)


def test_a_client_that_was_not_started_says_so() -> None:
    """It would wait for nothing."""
    client = MeteringClient("127.0.0.1:7402")
    with pytest.raises(MeteringError, match="call start"):
        client._session.check_usable()


def test_a_forked_child_is_told_what_to_do() -> None:
    """Every use of a started client in a child is refused, even counting a token well inside the grant."""
    desk = Desk()
    request = desk.granted(100)
    request.output()
    fork.watch(desk.session)
    fork.disown(4711)

    with pytest.raises(Forked, match=r"started in process 4711 .* start one in each process, after the fork"):
        request.output()
    with pytest.raises(Forked):
        desk.state(2)


def test_a_running_request_is_small() -> None:
    """Less than 2 KiB each, handle, counts, grant and all."""
    desk = Desk(settings=replace(SETTINGS, open_requests_max=2_000))
    requests = [desk.granted(1_000, number) for number in range(50)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        requests += [desk.granted(1_000, number) for number in range(50, 1_050)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(requests) == 1_050
    assert (after - before) / 1_000 < REQUEST_BYTES_MAX


@pytest.mark.parametrize("addresses", ["a:1,b:2", " a:1 , b:2,", ["a:1", "b:2"], ("a:1", "b:2")])
def test_addresses_come_as_text_or_as_a_sequence(addresses: str | list[str] | tuple[str, ...]) -> None:
    """One line of configuration is enough for several nodes."""
    assert parse_addresses(addresses) == ("a:1", "b:2")


@pytest.mark.parametrize("addresses", ["", " , ", []])
def test_no_address_is_refused(addresses: str | list[str]) -> None:
    """A client without one would never connect."""
    with pytest.raises(ValueError, match="at least one address"):
        MeteringClient(addresses)


def test_a_made_up_id_is_unique() -> None:
    """Requests need no id of their caller's."""
    client = MeteringClient("127.0.0.1:7402")
    ids = {client.request(SERVICE).request_id for _ in range(1_000)}
    assert len(ids) == 1_000
    assert max(len(one.encode()) for one in ids) <= 64
