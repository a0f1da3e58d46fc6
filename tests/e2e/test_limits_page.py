"""The commands of the page on rate rules and budgets, as an owner types them, and what is said to slips."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.programs.command import Said, Up, up

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
STAGE = (
    "account create acme",
    "model create llama",
    "team create acme/search",
    "service create acme/chat --model llama --team search",
    "budget create acme/slips --tokens 5 --every never",
)


def commands() -> list[str]:
    """The commands of the examples, in their order."""
    section = PAGE.read_text().partition("## Examples\n")[2].partition("\n## ")[0]
    return [match.strip() for match in re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Both services, with what the page says there is."""
    with up(tmp_path_factory.mktemp("data")) as running:
        for line in STAGE:
            typed(running, line)
        yield running


def typed(running: Up, line: str) -> Said:
    said = running.tallygate(*shlex.split(line))
    assert said.status == 0, (line, said.err)
    return said


def test_the_pages_commands_do_what_the_page_says(running: Up) -> None:
    """In their order; each is taken, and what it makes is shown."""
    said = {line: typed(running, line.removeprefix("tallygate ")) for line in commands()}
    assert len(said) == len(commands()) >= 14
    shown = {line: one.out for line, one in said.items()}
    listed = next(out for line, out in shown.items() if "rule list" in line)
    for text in ("3,000 requests in 3,600 s", "200,000 input tokens in 60 s", "8 requests at once"):
        assert text in listed
    assert "models/llama/rateRules" not in listed
    daily = next(out for line, out in shown.items() if "budget show" in line)
    assert "100,000 tokens a day" in daily
    assert "120,000 tokens" in daily
    assert "requests are refused until" in daily
    raised = next(out for line, out in shown.items() if "--raise-to-money" in line)
    assert "800.00 USD until" in raised
    assert "500.00 USD a month" in raised
    assert "fair" in typed(running, "rule list models/llama").out


def test_an_answer_can_be_read_by_programs(running: Up) -> None:
    """As the contract names things."""
    made = typed(running, "rule create acme/json concurrent 2 --on services/chat --json").json
    assert (made["metric"], made["limit_units"]) == ("RATE_METRIC_CONCURRENT_REQUESTS", "2")
    made = typed(running, "budget create acme/json --money 1.50 --every never --json").json
    assert (made["budget"]["amount_units"], made["standing"]["stops_requests"]) == ("1500000000", False)
    assert typed(running, "budget list acme --json").json["budgets"]
    typed(running, "budget update acme/json --money 2 --hard --no-thresholds --end-raise")
    assert typed(running, "rule delete acme/json --json").json["delete_time"]
    assert typed(running, "rule show acme/json").out


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("rule create acme/zero requests 0", "disable or suspend"),
        ("rule create acme/small tokens 10 --on services/chat", "smallest request"),
        ("rule create acme/long requests 10 --per 2d", "86400 s"),
        ("rule create steady requests 10", "is not a rate rule"),
        ("rule create acme/x requests 10 --on chat", "nothing that a limit hangs on"),
        ("rule create acme/x requests 10 --on services/none", "accounts/acme/services/none"),
        ("rule list models/", "is no account and no model"),
        ("budget create acme/x --tokens 5 --every day --zone Mars/Olympus", "IANA time zone"),
        ("budget create acme/x --tokens 5 --every day --zone Asia/Kolkata", "full hours of UTC"),
        ("budget create acme/x --every day", "exactly one of"),
        ("budget create acme/x --tokens 5 --every day --spent-money 1", "both in tokens"),
        ("budget create daily --tokens 5 --every day", "is not a budget"),
        ("budget update acme/slips --until 3d", "--raise-to-tokens"),
        ("budget update acme/slips --raise-to-tokens 3000000 --until 2026-02-32", "is no moment"),
        ("budget update acme/slips --raise-to-money 9 --until 3d", "never changes"),
        ("budget show acme/none", "There is no accounts/acme/budgets/none"),
    ],
)
def test_a_slip_is_answered_by_one_sentence(running: Up, line: str, sentence: str) -> None:
    """What is wrong, and what to do; nothing is made."""
    said = running.tallygate(*shlex.split(line))
    assert said.status != 0
    assert sentence in " ".join(said.err.replace("│", " ").split())
