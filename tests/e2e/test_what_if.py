"""What-if next to a real pair: what it works out is what a replay at the trace's own speed comes to; and its page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tallygate.replay.synthetic import synthesize
from tallygate.replay.trace import read_trace
from tests.harness.programs.command import Up, refused_for_now, typed, up

PAGE = Path(__file__).parents[2] / "docs" / "what-if.md"
REQUESTS = 80
NUMBERS = count(1)
SETTINGS = """
balance = 100
[services.chat]
postpaid = true
[services.chat.prices]
input = 0.2
output = 0.6
"""
TRIAL_TOKENS = 50_000
TRIAL = f"[services.chat.trial]\ntokens = {TRIAL_TOKENS}\n"
IN_FLIGHT = 8
"""Number of requests that a server of a replay has at once, whose grants may have what another one lacks."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of some two seconds, as Azure writes them, and settings."""
    directory = tmp_path_factory.mktemp("what-if")
    rows = synthesize(REQUESTS, seed=3, requests_per_second=40).rows()
    lines = [
        f"2026-03-01 10:00:{row.offset_us // 10**6:02}.{row.offset_us % 10**6:06},"
        f"{row.context_tokens},{row.generated_tokens}"
        for row in rows
    ]
    (directory / "trace.csv").write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]))
    (directory / "same.toml").write_text(SETTINGS)
    (directory / "trial.toml").write_text(SETTINGS + TRIAL)
    return directory


@pytest.fixture(scope="module")
def running(directory: Path) -> Iterator[Up]:
    """Both services, set up as the settings say."""
    with up(directory / "data") as running:
        for line in (
            f"model create llama --trial-tokens {TRIAL_TOKENS}",
            "model publish-price llama --input 0.20 --output 0.60",
        ):
            said = running.tallygate(*shlex.split(line))
            assert said.status == 0, (line, said.err)
        yield running


def replayed(running: Up, directory: Path, billing: str) -> tuple[str, Any]:
    """An account whose service has had the trace, of which nothing was refused; and what came of it."""
    while True:
        account = f"a{next(NUMBERS)}"
        for line in (
            f"account create {account}",
            f"account top-up {account} --amount 100",
            f"service create {account}/chat --model llama {billing}",
        ):
            said = running.tallygate(*shlex.split(line))
            assert said.status == 0, (line, said.err)
        trace = str(directory / "trace.csv")
        done = running.replay(f"{account}/chat", trace, "--speed", "1", "--report-every", "500")
        assert done.status == 0, done.out
        if not refused_for_now(done):
            return account, done.json


def worked_out(directory: Path, settings: str) -> Any:
    said = typed("what-if", str(directory / "trace.csv"), "--settings", str(directory / settings), "--json")
    assert said.status == 0, said.err
    return said.json["outcomes"][0]["services"][0]


def test_it_is_what_a_replay_comes_to(running: Up, directory: Path) -> None:
    """The same tokens, nanos and payers, at the trace's own speed; and once more from what is on record then."""
    account, found = replayed(running, directory, "--enable-postpaid")
    chat, recorded = worked_out(directory, "same.toml"), found["recorded"]

    assert chat["allowed"] == found["allowed"] == REQUESTS
    assert chat["payers"] == found["payers"]
    assert chat["cost_nanos"] == found["cost_nanos"] > 0
    assert (chat["tokens"]["input"], chat["tokens"]["output"]) == (recorded["input"], recorded["output"])

    records = running.run("usage", "requests", f"{account}/chat", "--metering", running.metering, "--json")
    month = min(one["start_time"] for one in records.json["request_usages"])[:7]
    arguments = ("--from-records", account, "--settings", str(directory / "same.toml"), "--metering", running.metering)
    again = running.tallygate("what-if", *arguments, "--month", month, "--json")
    assert again.status == 0, again.err
    (from_records,) = again.json["outcomes"][0]["services"]
    for figure in ("allowed", "tokens", "payers", "cost_nanos"):
        assert from_records[figure] == chat[figure]
    nothing = running.tallygate("what-if", *arguments, "--month", "1999-01")
    assert (nothing.status, "no settled requests on record" in nothing.err) == (1, True)


def test_where_a_trial_runs_out_it_is_near(running: Up, directory: Path) -> None:
    """All of the trial is used by both; which tokens it paid for is within what requests in flight may hold."""
    _, found = replayed(running, directory, "--claim-trial --enable-postpaid")
    chat = worked_out(directory, "trial.toml")

    assert chat["allowed"] == found["allowed"] == REQUESTS
    assert chat["payers"] == found["payers"]
    assert chat["payers"]["trial"] == TRIAL_TOKENS
    # A request is held with at most so many tokens, which may be paid at the price of output or of input.
    largest = max(row.context_tokens + 2 * row.generated_tokens for row in read_trace(directory / "trace.csv").rows())
    assert abs(chat["cost_nanos"] - found["cost_nanos"]) <= IN_FLIGHT * largest * (600 - 200)


def test_the_pages_commands_do_what_the_page_says(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the page's settings, over a small trace; all but the one that asks a running pair."""
    page = PAGE.read_text()
    monkeypatch.chdir(directory)
    for name, block in re.findall(r"`(\w+\.toml)`:\n\n```toml\n(.*?)```", page, re.DOTALL):
        Path(name).write_text(block)
    commands = re.findall(r"^```\ntallygate (.*?)\n```$", page, re.MULTILINE)
    assert len(commands) == 4
    said = {line: typed(*shlex.split(line)) for line in commands if "--from-records" not in line}
    assert {one.status for one in said.values()} == {0}, [one.err for one in said.values()]

    table = next(iter(said.values())).out
    for text in ("as today", "reserved", "cost of reservations", "trial over", "cheapest reservation", "chat"):
        assert text in table
    report = Path("report.html").read_text()
    assert report.count("<svg") == 2
    assert set(re.findall(r"https?://[^\"<]*", report)) == {"http://www.w3.org/2000/svg"}
    assert "<script" not in report


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("what-if --settings same.toml", "name traces, or an account by --from-records"),
        ("what-if trace.csv --from-records acme --settings same.toml", "name traces, or an account"),
        ("what-if --from-records acme --month 2026-13 --settings same.toml", "is no month"),
        ("what-if --from-records acme --month 9999-12 --settings same.toml", "is no month"),
        ("what-if none.csv --settings same.toml", "none.csv cannot be read"),
        ("what-if trace.csv --settings none.toml", "none.toml cannot be read"),
        ("what-if trace.csv --settings same.toml --html none/report.html", "none/report.html cannot be written"),
    ],
)
def test_slips_are_answered_with_a_sentence(
    directory: Path, monkeypatch: pytest.MonkeyPatch, line: str, sentence: str
) -> None:
    """One sentence, and nothing of a traceback."""
    monkeypatch.chdir(directory)
    said = typed(*shlex.split(line))
    assert said.status != 0
    assert sentence in " ".join(said.err.replace("│", " ").split())
