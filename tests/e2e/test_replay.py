"""Replays against the real pair: every token accounted for, whoever pays, and said so by the exit status."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tallygate.replay.synthetic import synthesize
from tallygate.replay.trace import read_trace
from tests.harness.programs.command import FOR_NOW, Up, refused_for_now, up

NUMBERS = count(1)
TRACE_VARIABLE = "TALLYGATE_TEST_TRACE"
"""Path of a real trace, to be replayed too where it is given."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Both services with a model: 0.20 and 0.60 per million tokens, a trial of 100,000 tokens."""
    with up(tmp_path_factory.mktemp("data")) as running:
        for arguments in (
            ("model", "create", "llama", "--trial-tokens", "100000", "--reserved-input", "0", "--reserved-output", "0"),
            ("model", "publish-price", "llama", "--input", "0.20", "--output", "0.60"),
        ):
            said = running.tallygate(*arguments)
            assert said.status == 0, said.err
        yield running


def service(running: Up, account: str, *settings: str, amount: str = "0") -> str:
    """A new account's default service with these settings, once it runs."""
    name = f"{account}/default-llama"
    commands: list[tuple[str, ...]] = [("account", "create", account)]
    if amount != "0":
        commands.append(("account", "top-up", account, "--amount", amount))
    commands += [("service", setting, name) for setting in settings]
    for command in commands:
        said = running.tallygate(*command)
        assert said.status == 0, said.err
    return name


def test_pay_as_you_go_bills_every_token_once(running: Up) -> None:
    """Everything is allowed, recorded and charged; 32 servers agree with one book."""
    while True:
        account = f"payer-{next(NUMBERS)}"
        name = service(running, account, "enable-postpaid", amount="100")
        said = running.replay(name, "--requests", "300", "--servers", "32", "--report-every", "7")
        if not refused_for_now(said):
            break
    trace = synthesize(300, seed=1, requests_per_second=40)
    tokens = {"input": sum(trace.context_tokens), "output": sum(trace.generated_tokens)}
    tokens["total"] = tokens["input"] + tokens["output"]

    assert said.status == 0, said.out
    found = said.json
    assert (found["reconciled"], found["allowed"], found["denied"]) == (True, 300, 0)
    assert found["tokens"] == found["recorded"] == tokens
    assert found["payers"] == {"reserved": 0, "trial": 0, "billed": tokens["total"], "unfunded": 0}
    assert found["overrun_tokens"] == 0
    shown = running.tallygate("account", "show", account, "--json").json
    assert int(shown["balance_nanos"]) == 100_000_000_000 - found["cost_nanos"]


def test_a_trial_is_spent_and_never_overspent(running: Up) -> None:
    """A quota smaller than the workload: what is recorded fits in it, the rest is denied, nothing is unfunded."""
    name = service(running, "taster", "claim-trial")
    said = running.replay(name, "--requests", "200", "--servers", "4")

    assert said.status == 0, said.out
    found = said.json
    assert found["payers"]["trial"] == found["tokens"]["total"] <= 100_000
    assert found["payers"]["billed"] == found["payers"]["unfunded"] == found["cost_nanos"] == 0
    assert found["denied"] > 0
    assert set(found["denials"]) <= {"TRIAL_INSUFFICIENT", "TRIAL_EXHAUSTED"} | FOR_NOW


def test_a_service_with_usage_can_be_replayed_again(running: Up) -> None:
    """Only what this run added is compared: a second run on the same service reconciles as well."""
    name = service(running, "again", "claim-trial", "enable-postpaid", amount="5")
    first = running.replay(name, "--requests", "80")
    second = running.replay(name, "--requests", "80")

    assert (first.status, second.status) == (0, 0), first.out + second.out
    trial = [said.json["payers"]["trial"] for said in (first, second)]
    assert trial[0] > 90_000 or refused_for_now(first)
    assert sum(trial) <= 100_000
    billed = [said.json["payers"]["billed"] for said in (first, second)]
    assert sum(trial) + sum(billed) == first.json["tokens"]["total"] + second.json["tokens"]["total"]


def test_a_service_that_nobody_started_denies_everything(running: Up) -> None:
    """All denied, nothing recorded, and the books agree on nothing."""
    name = service(running, "idle")
    said = running.replay(name, "--requests", "20")

    assert said.status == 0, said.out
    assert said.json["denied"] == 20
    assert {"NOT_ENABLED"} <= set(said.json["denials"]) <= {"NOT_ENABLED"} | FOR_NOW
    assert said.json["recorded"]["total"] == 0


def test_people_get_a_table(running: Up) -> None:
    """Without --json every figure has its row, every source its column, and the verdict is a sentence."""
    name = service(running, "reader", "claim-trial")
    said = running.tallygate("replay", "--service", name, "--metering", running.metering, "--requests", "20")

    assert said.status == 0, said.out
    for row in (
        "requests",
        "bookings",
        "input",
        "output",
        "reserved",
        "trial",
        "billed",
        "unfunded",
        "overrun",
        "cost USD",
    ):
        assert f"✓ {row} " in " ".join(said.out.split())
    assert "sent acknowledged records aggregates leases pots ledger" in " ".join(said.out.split())
    assert "The books agree." in said.out


@pytest.mark.skipif(TRACE_VARIABLE not in os.environ, reason=f"{TRACE_VARIABLE} names no trace")
def test_a_real_trace_is_accounted_for_exactly(running: Up) -> None:
    """Every token of the trace, reported one by one, by 32 servers."""
    path = Path(os.environ[TRACE_VARIABLE])
    trace = read_trace(path)
    name = service(running, "azure", "enable-postpaid", amount="1000")
    said = running.replay(name, str(path), "--servers", "32", "--report-every", "1")

    assert said.status == 0, said.out
    found = said.json
    assert found["allowed"] == len(trace)
    assert found["recorded"]["input"] == sum(trace.context_tokens)
    assert found["recorded"]["output"] == sum(trace.generated_tokens)
    assert found["reports"] >= sum(trace.generated_tokens)
