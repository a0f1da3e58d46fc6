"""`tallygate what-if` over an hour of requests under three settings: how long it takes, and the processor's time."""

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.processor import children_s
from tallygate.replay.synthetic import synthesize

REQUESTS: Final = 9_000
BEGIN: Final = datetime(2026, 3, 1, tzinfo=UTC)
REQUESTS_PER_SECOND: Final = 3
SECONDS_MAX, SECONDS_AIM = 20.0, 10.0
INPUT_PRICE, OUTPUT_PRICE = 0.2, 0.6
PRICES: Final = f"""
[services.trace.prices]
input = {INPUT_PRICE}
output = {OUTPUT_PRICE}
"""
SETTINGS: Final = {
    "trial": "[services.trace.trial]\ntokens = {half}\n",
    "balance": "balance = {most_of_cost:.6f}\n[services.trace]\npostpaid = true\n",
    "reservation": """
balance = 1000
[services.trace.reservation_prices]
input = 0.05
output = 0.15
[[services.trace.reservations]]
input_tpm = {input_tpm}
output_tpm = {output_tpm}
days = 1
""",
}
"""A trial for half of the tokens, money for two thirds of them, and a reservation of their mean rate."""


async def run(bench: Bench) -> None:
    """The command as it is typed, in processes of its own."""
    count = REQUESTS // 100 if bench.plan.quick else REQUESTS
    name = f"what-if over {count:,} requests, three settings"
    if not bench.plan.only.search(name):
        return
    command = _command(bench.directory, count)
    task = bench.progress.add_task(f"what-if: {name}", total=bench.plan.rounds)
    passed_s, used_s = [], []
    for _ in range(bench.plan.rounds):
        began_s, used_before_s = time.perf_counter(), children_s()
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        passed_s.append(time.perf_counter() - began_s)
        used_s.append(children_s() - used_before_s)
        if done.returncode or len(json.loads(done.stdout)["outcomes"]) != len(SETTINGS):
            raise RuntimeError(f"what-if failed: {done.stderr[-500:]}")
        bench.progress.advance(task)
    whole = Figure("what-if", name, "s", passed_s, lower_is_better=True)
    if not bench.plan.quick:
        whole.at_least, whole.aim = SECONDS_MAX, SECONDS_AIM
    bench.figures += [whole, Figure("what-if", f"{name}, processor", "s", used_s, lower_is_better=True)]


def _command(directory: Path, count: int) -> list[str]:
    trace = synthesize(count, seed=1, requests_per_second=REQUESTS_PER_SECOND)
    path = directory / "trace.csv"
    rows = ((BEGIN + timedelta(microseconds=row.offset_us), row) for row in trace.rows())
    lines = (f"{moment:%F %T.%f},{row.context_tokens},{row.generated_tokens}" for moment, row in rows)
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]))
    read, said = sum(trace.context_tokens), sum(trace.generated_tokens)
    minutes = trace.offsets_us[-1] / 60_000_000
    facts = {
        "half": (read + said) // 2,
        "most_of_cost": (read * INPUT_PRICE + said * OUTPUT_PRICE) / 1e6 * 2 / 3,
        "input_tpm": int(read / minutes),
        "output_tpm": int(said / minutes),
    }
    command = [sys.executable, "-m", "tallygate.cli", "what-if", str(path), "--json"]
    for name, text in SETTINGS.items():
        settings = directory / f"{name}.toml"
        settings.write_text(text.format(**facts) + PRICES)
        command += ["--settings", str(settings)]
    return command
