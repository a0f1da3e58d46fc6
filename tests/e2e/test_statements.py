"""`tallygate account statement` on running programs: what is on it is what was paid, used and settled."""

import csv
import io
import re
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import Said, Up, up


def _until(said: Callable[[], Said], is_there: Callable[[Said], bool]) -> Said:
    """Asks until it is there: what nodes settle reaches the ledger within some seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        one = said()
        if is_there(one) or time.monotonic() > deadline:
            return one
        time.sleep(0.2)


def _furnish(pair: Up) -> None:
    for command in (
        "model create llama --reserved-input 1 --reserved-output 2",
        "model publish-price llama --input 0.20 --output 0.60",
        "account create acme",
        "account top-up acme --amount 100",
        "account adjust acme --amount=-0.5 --reason fee",
        "service create acme/chat --model llama --enable-postpaid",
    ):
        done = pair.tallygate(*command.split())
        assert done.status == 0, done.err
    replayed = pair.replay("acme/chat", "--requests", "20", "--servers", "1")
    assert replayed.status == 0, replayed.err


def test_a_statement_adds_up(tmp_path: Path) -> None:
    """Opening and lines are closing, as a spreadsheet adds them; tokens stand beside what they cost."""
    with up(tmp_path) as pair:
        _furnish(pair)
        ask = ("account", "statement", "acme", "--metering", pair.metering)
        found = _until(
            lambda: pair.tallygate(*ask, "--json"),
            lambda said: (
                said.json["statement"]["usage_nanos"] == str(-sum(int(one["cost_nanos"]) for one in said.json["usage"]))
            ),
        )
        assert found.status == 0, found.err
        assert int(found.json["statement"]["usage_nanos"]) < 0
        lines = list(csv.DictReader(io.StringIO(pair.tallygate(*ask, "--csv").out)))
        *all_before, closing = lines
        assert closing["kind"] == "closing balance"
        assert sum(Decimal(line["amount"]) for line in all_before) == Decimal(closing["amount"])
        (usage,) = (line for line in lines if line["kind"] == "usage")
        assert (usage["service"], usage["model"], usage["requests"]) == (
            "accounts/acme/services/chat",
            "models/llama",
            "20",
        )
        assert Decimal(usage["booked_cost"]) == -Decimal(usage["amount"])
        balance = pair.tallygate("account", "show", "acme", "--json").json["balance_nanos"]
        assert Decimal(closing["amount"]) == Decimal(balance) / 10**9
        shown = pair.tallygate(*ask, "--by", "model", "--time-zone", "Europe/Berlin")
        assert re.search(r"closing balance\s+99\.\d+ USD", shown.out)
        refused = pair.tallygate(*ask, "--month", "2026-13")
        assert refused.status == 1
        assert "must be a month, such as 2026-10" in refused.err
