"""`tallygate audit-books`: whether the books of both databases add up, on live ones as well."""

from __future__ import annotations

import json as json_codec
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tallygate.cli.console import err, literal, out
from tallygate.cli.database_options import DATA_DIR, ControlDatabaseOption, DataDirOption, MeteringDatabaseOption
from tallygate.cli.names import account_name
from tallygate.cli.rpc import fail

Finding = Mapping[str, str]


def audit_books(
    *,
    account: Annotated[
        str | None, typer.Option(metavar="ACCOUNT", help="Of this account only.", parser=account_name)
    ] = None,
    data_dir: DataDirOption = DATA_DIR,
    control_database_url: ControlDatabaseOption = "",
    metering_database_url: MeteringDatabaseOption = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Reads both databases, writes to neither, and names what does not add up; exit status 1 if anything does not."""
    urls = {
        "TALLYGATE_CONTROL_DATABASE_URL": control_database_url or _file(data_dir, "control"),
        "TALLYGATE_METERING_DATABASE_URL": metering_database_url or _file(data_dir, "metering"),
    }
    options = ["--account", account.partition("/")[2]] if account else []
    looked_at, findings = 0, list[Finding]()
    with err.status("reading the books") as status:
        for step in _steps(urls, options):
            looked_at += 1
            findings += step["findings"]
            status.update(literal(f"{looked_at:,} accounts and services looked at, {len(findings):,} findings"))
    if json:
        print(json_codec.dumps({"looked_at": looked_at, "findings": findings}))
    else:
        _print(looked_at, findings)
    raise typer.Exit(1 if findings else 0)


def _file(data_dir: str, name: str) -> str:
    return f"sqlite:///{Path(data_dir).absolute() / name}.sqlite3"


def _steps(urls: Mapping[str, str], options: list[str]) -> Iterator[dict[str, Any]]:
    """What the program that reads the databases says; it ends the command where that cannot."""
    command = [sys.executable, "-m", "books_audit", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env={**os.environ, **urls}, stdout=pipe, stderr=pipe, text=True) as program:  # noqa: S603
        assert program.stdout is not None
        assert program.stderr is not None
        for line in program.stdout:
            yield json_codec.loads(line)
        problem = program.stderr.read().strip()
    if program.returncode:
        fail(problem.splitlines()[-1] if problem else f"the audit ended with status {program.returncode}")


def _print(looked_at: int, findings: list[Finding]) -> None:
    if findings:
        table = Table("rule", "where", "what", title="What does not add up")
        for each in findings:
            table.add_row(literal(each["rule"]), literal(each["subject"]), literal(each["problem"]))
        out.print(table)
    else:
        out.print(f"The books add up: {looked_at:,} accounts and services.", style="green")
