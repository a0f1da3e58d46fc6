"""The `tallygate` command as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from tallygate.cli.app import app
from tests.harness.patience import PATIENCE_S

TALLYGATE = (sys.executable, "-m", "tallygate.cli")
FOR_NOW = frozenset({"BUDGET_CONTENDED", "CONTROL_UNREACHABLE", "OVERLOADED", "STORAGE_UNAVAILABLE", "UNREACHABLE"})
"""Reasons for which a replay's request may be refused on a machine that is busy with other things."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, parsed."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Up:
    """A running `tallygate up`."""

    process: subprocess.Popen[str]
    control: str
    metering: str

    def tallygate(self, *arguments: str) -> Said:
        """Runs a command against its control service; in this process, because starting one takes a second."""
        return self.run(*arguments, "--control", self.control)

    def run(self, *arguments: str) -> Said:
        """Runs a command as it is, which may speak to the pair of a context."""
        return typed(*arguments)

    def replay(self, service: str, *arguments: str) -> Said:
        """Runs a replay against the pair."""
        return self.tallygate("replay", "--service", service, "--metering", self.metering, "--json", *arguments)


def refused_for_now(replayed: Said) -> bool:
    """Whether a replay met nothing worse than nodes that waited for control too long; it may be made once more."""
    met = {*replayed.json["denials"], *replayed.json["stops"]}
    return bool(met) and met <= FOR_NOW


def typed(*arguments: str) -> Said:
    """Runs a command to its end, in this process."""
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Said(done.exit_code, done.stdout, done.stderr)


def tallygate(*arguments: str, variables: Mapping[str, str] | None = None) -> Said:
    """Runs a command to its end, as a process."""
    done = subprocess.run(
        [*TALLYGATE, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**environment(), **(variables or {})},
    )
    return Said(done.returncode, done.stdout, done.stderr)


@contextmanager
def up(data_dir: Path, *options: str, variables: Mapping[str, str] | None = None) -> Iterator[Up]:
    """Both services on free ports; stopped at the end."""
    process = subprocess.Popen(
        [
            *(*TALLYGATE, "up", "--data-dir", str(data_dir)),
            *("--control", "127.0.0.1:0", "--metering", "127.0.0.1:0", *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**environment(), **(variables or {})},
    )
    assert process.stdout is not None
    try:
        addresses = dict(process.stdout.readline().split() for _ in range(2))
        yield Up(process, addresses["control"], addresses["metering"])
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        process.stdout.close()


def environment() -> dict[str, str]:
    """Variables of programs that a test starts: without what the tester's shell and contexts say of another pair."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("TALLYGATE_")}
    return {**others, "TALLYGATE_CONFIG_DIR": os.devnull}
