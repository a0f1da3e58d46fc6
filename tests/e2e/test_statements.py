"""What finance takes out of running programs: statements and exports have what was paid, used and settled."""

import csv
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from tests.harness.patience import PATIENCE_S, turns
from tests.harness.programs.command import Said, Up, refused_for_now, up


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Both services, and an account that has paid and used something, all of it settled."""
    for _ in turns():
        with up(tmp_path_factory.mktemp("data")) as running:
            if not refused_for_now(_furnish(running)):
                yield running
                return


def _until(said: Callable[[], Said], is_there: Callable[[Said], bool]) -> Said:
    """Asks until it is there: what nodes settle reaches the ledger within some seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        one = said()
        if is_there(one) or time.monotonic() > deadline:
            return one
        time.sleep(0.2)


def _furnish(pair: Up) -> Said:
    """What a replay has come to, and all that belongs to it."""
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
    asked = ("account", "statement", "acme", "--metering", pair.metering, "--json")
    found = _until(
        lambda: pair.tallygate(*asked),
        lambda said: said.json["statement"]["usage_nanos"] == str(-sum(_costs(said.json["usage"]))),
    )
    assert found.status == 0, found.err
    return replayed


def _costs(found: list[Any]) -> list[int]:
    return [int(one["cost_nanos"]) for one in found]


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_statement_adds_up(pair: Up) -> None:
    """Opening and lines are closing, as a spreadsheet adds them; tokens stand beside what they cost."""
    ask = ("account", "statement", "acme", "--metering", pair.metering)
    lines = _rows(pair.tallygate(*ask, "--csv").out)
    *all_before, closing = lines
    assert closing["kind"] == "closing balance"
    assert sum(Decimal(line["amount"]) for line in all_before) == Decimal(closing["amount"])
    (usage,) = (line for line in lines if line["kind"] == "usage")
    assert (usage["service"], usage["model"]) == ("accounts/acme/services/chat", "models/llama")
    assert usage["requests"] == "20"
    assert Decimal(usage["booked_cost"]) == -Decimal(usage["amount"]) > 0
    balance = pair.tallygate("account", "show", "acme", "--json").json["balance_nanos"]
    assert Decimal(closing["amount"]) == Decimal(balance) / 10**9
    shown = pair.tallygate(*ask, "--by", "model", "--time-zone", "Europe/Berlin")
    assert re.search(r"closing balance\s+99\.\d+ USD", shown.out)
    refused = pair.tallygate(*ask, "--month", "2026-13")
    assert refused.status == 1
    assert "must be a month, such as 2026-10" in refused.err


def test_exports_have_all_that_was_used(pair: Up, tmp_path: Path) -> None:
    """Records, aggregates, events and costs, in every format, say the same cost to the nano."""
    (bucket,) = pair.run("usage", "show", "acme", "--metering", pair.metering, "--json").json["buckets"]
    cost_nanos = int(bucket["cost_nanos"])

    def exported(*arguments: str) -> Path:
        path = tmp_path / "-".join(arguments[:4]).replace("/", "-")
        # What was settled within this very second is not yet before now.
        until = ("--until", f"{datetime.now(UTC) + timedelta(minutes=1):%Y-%m-%dT%H:%M:%S}")
        span = until if arguments[0] == "export" else ()
        done = pair.tallygate("usage", *arguments, *span, "--out", str(path), "--metering", pair.metering)
        assert done.status == 0, done.err
        assert ("may be missing" in done.err) == bool(span)
        return path

    for name in ("acme", "acme/chat"):
        records = _rows(exported("export", name, "--format", "csv").read_text())
        assert len({record["request_id"] for record in records}) == 20
        assert sum(_costs(records)) == cost_nanos
    table = pyarrow.parquet.read_table(exported("export", "acme", "--format", "parquet"))
    assert (table.num_rows, sum(table.column("cost_nanos").to_pylist())) == (20, cost_nanos)
    sums = _rows(exported("export", "acme", "--what", "aggregates", "--label", "project").read_text())
    assert sum(_costs(sums)) == cost_nanos
    assert sum(int(one["request_count"]) for one in sums) == 20
    lines_of_events = exported("export", "acme", "--format", "cloudevents").read_text().splitlines()
    events = [json.loads(line) for line in lines_of_events]
    assert len({event["id"] for event in events}) == 20
    assert sum(event["data"]["cost_nanos"] for event in events) == cost_nanos
    for version in ("1.2", "1.4"):
        lines = _rows(exported("focus", "acme", "--version", version, "--provider", "Example AI").read_text())
        assert sum(Decimal(line["BilledCost"]) for line in lines) == Decimal(cost_nanos) / 10**9


def test_an_export_that_fails_leaves_nothing(pair: Up, tmp_path: Path) -> None:
    """Where a node does not answer, and where the folder is not there."""
    path = tmp_path / "usage.csv"
    done = pair.tallygate("usage", "export", "acme/chat", "--out", str(path), "--metering", "127.0.0.1:9")
    assert done.status == 1
    assert "cannot be reached" in done.err
    assert list(tmp_path.iterdir()) == []
    done = pair.tallygate(
        "usage", "export", "acme/chat", "--out", str(tmp_path / "no" / "usage.csv"), "--metering", pair.metering
    )
    assert (done.status, "cannot be written: No such file or directory" in done.err) == (1, True)
