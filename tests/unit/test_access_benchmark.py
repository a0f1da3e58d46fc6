"""What the benchmark says of proof: differences are of the same round, and a load that was another one is refused."""

from collections import Counter

import pytest

from benchmarks.bench import Variant
from benchmarks.cases.access_cost import processor_us
from benchmarks.cases.access_guesses import costs, grown
from benchmarks.cases.access_revoked import revoked_figures
from benchmarks.cases.access_scale import memory_figure
from benchmarks.guess_load import MISSING, UNVERIFIED, WRONG, require_all, wrong_token
from benchmarks.job import Result
from benchmarks.judgement import last_words, require_beside
from benchmarks.schedule import Schedule
from benchmarks.targets import Target
from tallygate._access.token_text import read_token

FAILED = Result(failure="it hung")


def test_revocation_counts_only_if_all_of_it_was_measured() -> None:
    """The median and the longest of all; where one is missing, neither is a figure, however small the others are."""
    median, longest = revoked_figures("broken", [50.0, 60.0, 1_200.0], 3)
    assert (median.value, median.reached, longest.value, longest.reached) == (60.0, True, 1_200.0, False)

    for samples in ([50.0, 60.0], []):
        figures = revoked_figures("broken", samples, 3)
        assert [(figure.counts, figure.reached) for figure in figures] == [(False, False)] * 2
        assert f"{len(samples)} of 3 measurements" in figures[0].notes[0]

    figures = revoked_figures("stopped", [50.0, 600.0], 2, "keys", 500.0)
    assert [(figure.case, figure.name, figure.reached) for figure in figures] == [
        ("keys", "stopped, median", False),
        ("keys", "stopped, longest", False),
    ]


def test_what_wrong_tokens_cost_is_more_than_what_calls_without_any_cost() -> None:
    """In all, beyond the other calls of the same round, and of a program that was not called itself."""
    missings = [Result(server_seconds=[1.0, 0.25]), Result(server_seconds=[2.0, 0.25])]
    wrongs = [Result(server_seconds=[1.5, 1.0]), Result(server_seconds=[3.0, 1.0])]
    figures = {figure.name: figure.samples for figure in costs("wrong", "none", wrongs, missings)}
    assert figures == {
        "none, processor": [1.25, 2.25],
        "wrong, processor": [2.5, 4.0],
        "wrong, more than without a token": [1.25, 1.75],
        "wrong, processor of control": [1.0, 1.0],
    }


def test_costs_of_what_failed_do_not_count() -> None:
    """A failure on either side has no processor time, which is no small cost."""
    measured = [Result(server_seconds=[1.0])]
    for wrongs, missings in (([FAILED], measured), (measured, [FAILED])):
        more = costs("wrong", "none", wrongs, missings)[2]
        assert (more.counts, more.notes) == (False, ["failed: it hung"])
    assert not grown("wrong", [FAILED]).counts
    assert not memory_figure("memory", FAILED, 10).counts


def test_memory_is_said_for_each_token() -> None:
    """What grew between the two readings, and nothing that was there before."""
    result = Result(server_rss_before_bytes=1_000_000, server_rss_open_bytes=1_000_000 + 40 * 1_024)
    assert memory_figure("memory", result, 10).value == 4.0


def test_processor_time_is_for_each_call() -> None:
    """A share of a core over a rate; nothing of what was not measured."""
    assert processor_us([Result(rate=2_000, server_cpu=0.5), FAILED]) == [250.0, 0.0]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (Result(rate=80, window_s=[0, 10]), "80 a second, not 100"),
        (Result(rate=100, window_s=[3, 10]), "too late"),
        (Result(rate=100, window_s=[0, 6]), "too early"),
    ],
)
def test_a_load_beside_must_be_there_all_the_time(other: Result, why: str) -> None:
    """Who is measured beside less than was meant was measured beside nothing."""
    result = Result(rate=10, window_s=[2, 7])
    require_beside(result, Result(rate=95, window_s=[1, 8]), 100)
    with pytest.raises(RuntimeError, match=why):
        require_beside(result, other, 100)


def test_a_failure_is_said_in_words() -> None:
    """Of a call that failed gRPC's last line is a bracket."""
    assert last_words(RuntimeError("error: <RPC\n\tstatus = StatusCode.CANCELLED\n\tdetails = x\n>")) == (
        "status = StatusCode.CANCELLED"
    )
    assert last_words(RuntimeError("one\ntwo")) == "two"
    assert last_words(TimeoutError()) == "TimeoutError"


def test_guesses_must_all_be_refused_as_expected() -> None:
    """Another refusal costs something else; only a node that could not ask control in time may say so."""
    require_all(Counter({WRONG: 8, UNVERIFIED: 2}), WRONG, 10)
    require_all(Counter({MISSING: 10}), MISSING, 10)
    for answers, expected, why in (
        (Counter({MISSING: 9, UNVERIFIED: 1}), MISSING, "UNVERIFIED"),
        (Counter({WRONG: 9, "UNAVAILABLE": 1}), WRONG, "UNAVAILABLE"),
        (Counter({WRONG: 9}), WRONG, "only 9 of 10"),
    ):
        with pytest.raises(RuntimeError, match=why):
            require_all(answers, expected, 10)


def test_wrong_tokens_look_right() -> None:
    """Each is another one, and none is refused for its form."""
    tokens = {wrong_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(read_token(token) is not None for token in tokens)


async def test_a_schedule_without_a_rate_keeps_nobody_waiting() -> None:
    """With one, turns are due at even intervals, however late they are taken."""
    assert await Schedule(0).turn() <= await Schedule(0).turn()
    schedule = Schedule(1e6)
    first, second = await schedule.turn(), await schedule.turn()
    assert second - first == pytest.approx(1e-6)


def test_no_token_is_shown_where_a_target_is_printed() -> None:
    """Failures of the benchmark go to a terminal, and to files of others."""
    secret = wrong_token()
    target = Target([], [], [], security={"token": secret}, reader={"token": secret})
    assert secret not in repr(Variant("name", target, {}))
