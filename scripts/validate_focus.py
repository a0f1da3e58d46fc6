"""Exported costs before the official validator of FOCUS: `validate_focus.py ENVIRONMENT`, where that is installed.

The validator has the rules of 1.2. Two of them contradict each other: an InvoiceId must be null of charges on no
invoice, and must not be null of others, which the validator does not tell apart. So exactly that one failure is right.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.control.v1 import ledger_pb2, statement_pb2
from tallygate.export.focus import Bill, FocusFile, FocusVersion
from tallygate.metering.v1 import usage_bucket_pb2

SERVICE: Final = "accounts/acme/services/chat"
RIGHT_FAILURES: Final = {"InvoiceId-C-005-C"}
_DAY_S: Final = 86_400
_START_S: Final = 1_790_812_800
_TOTAL: Final = re.compile(r"Total: \d+ \| Pass: (\d+) \| Fail: (\d+)")
_FAILED: Final = re.compile(r"^❌ (\S+): FAIL", re.MULTILINE)


def write(path: Path, days: list[usage_bucket_pb2.PayerTokens], *, bought: bool) -> None:
    """Writes a month with these days."""
    bill = Bill(
        "accounts/acme",
        "Acme",
        "USD",
        Timestamp(seconds=_START_S),
        Timestamp(seconds=_START_S + 31 * _DAY_S),
        "Example AI",
    )
    with path.open("wb") as file:
        focus = FocusFile(file, FocusVersion.V1_2, bill, {SERVICE: "models/llama"})
        if bought:
            kind = ledger_pb2.LEDGER_ENTRY_KIND_RESERVATION
            line = statement_pb2.StatementLine(
                kind=kind, amount_nanos=-(10**9), entry_count=2, inference_service=SERVICE, team="red"
            )
            focus.write_purchases([line])
        for day, payers in enumerate(days):
            start_s = _START_S + day * _DAY_S
            bucket = usage_bucket_pb2.UsageBucket(
                start_time=Timestamp(seconds=start_s),
                end_time=Timestamp(seconds=start_s + _DAY_S),
                group={"service": SERVICE, "team": "red" if day % 2 else ""},
                payers=payers,
                cost_nanos=812 * payers.billed_tokens,
                request_count=3,
            )
            focus.write_usage([bucket])
        focus.close()


def failures(environment: Path, path: Path) -> set[str]:
    """The rules that fail. The validator ends with 0 whatever it finds, and reads its own files from where it is."""
    (home,) = environment.glob("lib/python3.*/site-packages")
    arguments = ("--data-file", str(path), "--validate-version", "1.2.0.1", "--block-download")
    done = subprocess.run(
        [environment / "bin/focus-validator", *arguments], cwd=home, check=True, capture_output=True, text=True
    )
    total = _TOTAL.search(done.stdout)
    if total is None or int(total[1]) == 0:
        sys.exit(f"The validator checked nothing of {path.name}:\n{done.stdout}{done.stderr}")
    print(f"{path.name}: {total[0]}")
    failed = set(_FAILED.findall(done.stdout))
    if len(failed) != int(total[2]):
        sys.exit(f"The validator counts {total[2]} failures, and names {sorted(failed)}")
    return failed


def main() -> None:
    """Validates a month with everything in it, and one of a customer that has used its trial alone."""
    environment = Path(sys.argv[1]).absolute()
    everything = usage_bucket_pb2.PayerTokens(reserved_tokens=300, trial_tokens=500, billed_tokens=200)
    trial = usage_bucket_pb2.PayerTokens(trial_tokens=943)
    with tempfile.TemporaryDirectory() as folder:
        for name, days, bought in (("everything", [everything, trial, everything], True), ("trial", [trial], False)):
            path = Path(folder, f"{name}.csv")
            write(path, days, bought=bought)
            failed = failures(environment, path)
            if failed != RIGHT_FAILURES:
                sys.exit(f"{name}: these rules fail: {sorted(failed)}; right would be {sorted(RIGHT_FAILURES)}")


if __name__ == "__main__":
    main()
