"""What comes of workloads under settings: limits, balances, trials in time, several services, records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from metering_service.domain.counts import Counts
from tallygate.metering.v1 import receipt_pb2, request_usage_pb2, token_usage_pb2
from tallygate.replay.trace import read_trace
from tallygate.whatif.compare import compare
from tallygate.whatif.outcome import Outcome
from tallygate.whatif.records import of_records
from tallygate.whatif.settings import read_settings
from tallygate.whatif.workload import DEFAULT_START_US, SECOND_US, Job, Workload, of_traces

DAY_S = 86_400
CHAT = "[services.chat]\npostpaid = true\n[services.chat.prices]\ninput = 1\noutput = 2\n"


def outcome_of(tmp_path: Path, text: str, jobs: Sequence[tuple[int, str, Counts]]) -> Outcome:
    path = tmp_path / "s.toml"
    path.write_text(text)
    (outcome,) = compare(
        Workload([Job(at * SECOND_US, source, counts) for at, source, counts in jobs]), [read_settings(path)]
    )
    return outcome


def every(seconds: int, count: int, *, read: int = 100, said: int = 10) -> list[tuple[int, str, Counts]]:
    return [(seconds * number, "t", Counts(input=read, output=said)) for number in range(count)]


def test_a_rate_rule_refuses_what_is_beyond_it(tmp_path: Path) -> None:
    """Ten requests a minute, one of which is back every 6 s: of 30 within 29 s 10 and 4 pass."""
    rule = "balance = 1\n" + CHAT + "[[rate_rules]]\nmetric = 'requests'\nlimit = 10\nservice = 'chat'\n"
    chat = outcome_of(tmp_path, rule, every(1, 30)).services["chat"]
    assert chat.allowed == 14
    assert dict(chat.denials) == {"REQUEST_RATE": 16}

    dry = outcome_of(tmp_path, rule + "dry_run = true\n", every(1, 30)).services["chat"]
    assert (dry.allowed, dry.would_deny.total()) == (30, 16)


def test_a_budget_begins_anew(tmp_path: Path) -> None:
    """Of 400 tokens a day three requests of 110 pass, and three of the next day."""
    budget = "balance = 1\n" + CHAT + "[[budgets]]\ntokens = 400\nevery = 'day'\n"
    jobs = every(60, 6) + [(DAY_S + at, source, counts) for at, source, counts in every(60, 6)]
    chat = outcome_of(tmp_path, budget, jobs).services["chat"]
    assert (chat.allowed, dict(chat.denials)) == (6, {"BUDGET_EXCEEDED": 6})
    assert chat.paid.billed == Counts(input=600, output=60)


def test_a_balance_runs_out(tmp_path: Path) -> None:
    """0.001 pays for 8 requests of 100 and 20 microunits; what is left is below the floor."""
    settings = "balance = 0.001\noverdue_floor = 0.0001\n" + CHAT
    outcome = outcome_of(tmp_path, settings, every(60, 12))
    chat = outcome.services["chat"]
    assert chat.paid.cost_nanos == 8 * 120_000
    assert outcome.balance_nanos == 1_000_000 - 8 * 120_000
    assert sum(chat.denials.values()) == 4
    assert outcome.overdue_us is not None
    assert chat.paid.debt_nanos == chat.paid.unfunded.total == 0


def test_a_trial_ends_by_time(tmp_path: Path) -> None:
    """After two days it is over, though most of it is left."""
    settings = "[services.chat]\n[services.chat.trial]\ntokens = 100_000\ndays = 2\n"
    chat = outcome_of(tmp_path, settings, every(DAY_S, 4)).services["chat"]
    assert (chat.allowed, dict(chat.denials)) == (2, {"TRIAL_EXPIRED": 2})
    assert chat.trial_left_tokens == 100_000 - 220
    assert chat.trial_end_us == DEFAULT_START_US + 2 * DAY_S * SECOND_US


def test_a_reservation_ends_with_its_term(tmp_path: Path) -> None:
    """It pays for a day and, as nothing else does, for nothing after that."""
    sold = "balance = 1\n[services.chat]\n[services.chat.reservation_prices]\ninput = 1\noutput = 1\n"
    bought = "[[services.chat.reservations]]\ninput_tpm = 200\noutput_tpm = 50\ndays = 1\noverflow = 'refuse'\n"
    chat = outcome_of(tmp_path, sold + bought, every(DAY_S // 2, 4)).services["chat"]
    assert (chat.allowed, dict(chat.denials)) == (2, {"RESERVATION_ENDED": 2})
    assert (chat.paid.by_payer["reserved"], chat.reservation_nanos) == (220, 250_000_000)
    use = chat.reservation_use
    assert use is not None
    assert (use.accrued_input, use.accrued_output) == (200 * 1_440, 50 * 1_440)


def test_kinds_have_their_prices(tmp_path: Path) -> None:
    """Cached input and reasoning cost what they cost, or as input and output where nothing else is said."""
    kinds = Counts(1_000, 2_000, 3_000, 40, 50)
    like = outcome_of(tmp_path, "balance = 1\n" + CHAT, [(0, "t", kinds)])
    assert like.total_nanos == 6_000 * 1_000 + 90 * 2_000
    other = CHAT + "cached_input = 0.1\ncache_write = 1.25\nreasoning = 3\n"
    exact = outcome_of(tmp_path, "balance = 1\n" + other, [(0, "t", kinds)])
    assert exact.total_nanos == 1_000 * 1_000 + 2_000 * 100 + 3_000 * 1_250 + 40 * 2_000 + 50 * 3_000
    assert exact.services["chat"].usage == kinds


def test_services_share_the_account_by_source(tmp_path: Path) -> None:
    """Each source has its service; the one that names none has what is left."""
    settings = (
        "balance = 1\n"
        + CHAT
        + CHAT.replace("chat", "big").replace("[services.big]", "[services.big]\nserves = ['GPT-4']", 1)
    )
    jobs = [(0, "GPT-4", Counts(10, output=1)), (1, "ChatGPT", Counts(20, output=2)), (2, "t", Counts(30, output=3))]
    outcome = outcome_of(tmp_path, settings, jobs)
    assert {name: one.usage.total for name, one in outcome.services.items()} == {"chat": 55, "big": 11}
    assert outcome.balance_nanos == 1_000_000_000 - (60 * 1_000 + 6 * 2_000)


def test_a_workload_is_served_the_same_each_time(tmp_path: Path) -> None:
    """Nothing hangs on the machine's clock or chance."""
    settings = "balance = 0.002\n" + CHAT + "[services.chat.trial]\ntokens = 500\n"
    first, second = (outcome_of(tmp_path, settings, every(7, 40)).as_json() for _ in range(2))
    assert first == second


def test_traces_run_side_by_side(tmp_path: Path) -> None:
    """Those of a day keep their times between them; others begin together. A nameless source is the file's name."""
    head = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    (tmp_path / "code.1.csv").write_text(head + "2026-01-01 00:00:05,1,1\n2026-01-01 00:00:07,2,1\n")
    (tmp_path / "talk.csv").write_text(head + "2026-01-01 00:00:06,3,1\n")
    (tmp_path / "burst.csv").write_text("Timestamp,Model,Request tokens,Response tokens\n9,GPT-4,4,1\n")
    paths = [tmp_path / name for name in ("code.1.csv", "talk.csv", "burst.csv")]
    workload = of_traces([(path, read_trace(path)) for path in paths])

    assert workload.start_us == DEFAULT_START_US + 5 * SECOND_US
    assert [(job.offset_us // SECOND_US, job.source, job.counts.input) for job in workload.jobs] == [
        (0, "code", 1),
        (0, "GPT-4", 4),
        (1, "talk", 3),
        (2, "code", 2),
    ]


@pytest.mark.parametrize("date", ["1970-01-01", "1969-07-21"])
def test_a_trace_without_dates_keeps_the_time_of_the_day(tmp_path: Path, date: str) -> None:
    """A week that began before 1970 has no place in a budget."""
    path = tmp_path / "trace.csv"
    path.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{date} 00:00:01,100,10\n{date} 00:00:02,100,10\n")
    workload = of_traces([(path, read_trace(path))])
    assert workload.start_us == DEFAULT_START_US + SECOND_US
    (tmp_path / "s.toml").write_text("balance = 1\n" + CHAT + "[[budgets]]\ntokens = 220\nevery = 'week'\n")
    (outcome,) = compare(workload, [read_settings(tmp_path / "s.toml")])
    assert outcome.services["chat"].paid.billed == Counts(input=200, output=20)


@pytest.mark.parametrize(("seconds", "kept"), [(999, False), (1_000, True), (1_999, True), (2_000, False)])
def test_records_of_a_month_are_those_that_began_in_it(seconds: int, *, kept: bool) -> None:
    """From its beginning on, and before its end. What runs still is not in it, nor what used nothing."""
    usage = token_usage_pb2.TokenUsage(input_tokens=1, cached_input_tokens=2, output_tokens=3, reasoning_tokens=4)
    record = request_usage_pb2.RequestUsage(
        service="accounts/acme/services/chat",
        start_time=Timestamp(seconds=seconds),
        receipt=receipt_pb2.Receipt(usage=usage),
    )
    running = request_usage_pb2.RequestUsage(service=record.service, start_time=record.start_time)
    workload = of_records([running, record], 1_000 * SECOND_US, 2_000 * SECOND_US)
    assert [(job.offset_us, job.source, job.counts) for job in workload.jobs] == (
        [(0, "chat", Counts(1, 2, 0, 3, 4))] if kept else []
    )
    assert workload.start_us == (seconds if kept else 1_000) * SECOND_US
