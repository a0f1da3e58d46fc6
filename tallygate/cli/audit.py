"""`tallygate audit`: what was changed and what was refused, and who did it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Final, TextIO

import grpc
import typer
from google.protobuf.json_format import MessageToJson
from rich.table import Table

from tallygate.cli.console import err, literal, print_list
from tallygate.cli.names import account_name
from tallygate.cli.rpc import DEFAULT_CONTROL, TIMEOUT_S, ControlOption, CsvOption, JsonOption, control_channel, fail
from tallygate.cli.show import time_text
from tallygate.control.v1 import audit_entry_pb2, audit_service_pb2, audit_service_pb2_grpc

app = typer.Typer(help="The audit log: changes and refusals.", no_args_is_help=True)

PAGE_SIZE: Final = 1_000
REPORT_EVERY: Final = 10_000
"""Number of exported entries between two lines that say how far it has got."""


class Outcome(StrEnum):
    """What came of a call."""

    changed = "changed"
    unauthenticated = "unauthenticated"
    denied = "denied"


_DAY, _MOMENT = "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"
AccountOption = Annotated[
    str | None, typer.Option("--account", metavar="ACCOUNT", parser=account_name, help="Only this account's.")
]
PrincipalOption = Annotated[str, typer.Option("--principal", metavar="MEMBER", help="Only what this member did.")]
ResourceOption = Annotated[
    str, typer.Option("--resource", metavar="NAME", help="Only what was done to this resource, or to one within it.")
]
MethodOption = Annotated[
    str, typer.Option("--method", metavar="RPC", help="Only tallygate.control.v1.AccountService/TopUpAccount or such.")
]
OutcomeOption = Annotated[Outcome | None, typer.Option("--outcome", help="Only what came out like this.")]
SinceOption = Annotated[
    datetime | None, typer.Option("--since", formats=[_DAY, _MOMENT], help="Only from this moment on, UTC.")
]
UntilOption = Annotated[
    datetime | None, typer.Option("--until", formats=[_DAY, _MOMENT], help="Only before this moment, UTC.")
]


@app.command("list")
def list_entries(
    *,
    account: AccountOption = None,
    principal: PrincipalOption = "",
    resource: ResourceOption = "",
    method: MethodOption = "",
    outcome: OutcomeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1, max=PAGE_SIZE)] = 50,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists the newest entries that you may see."""
    wanted = _request(_Wanted(account, principal, resource, method, outcome, since, until))
    with control_channel(control) as channel:
        found = [*islice(_entries(channel, wanted, limit), limit)]
        answer = audit_service_pb2.ListAuditEntriesResponse(audit_entries=found)
        print_list(answer, lambda: _table(found), json=json, csv=csv)


@app.command()
def export(
    *,
    account: AccountOption = None,
    principal: PrincipalOption = "",
    resource: ResourceOption = "",
    method: MethodOption = "",
    outcome: OutcomeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Where to; standard output if left out.")
    ] = None,
    control: ControlOption = DEFAULT_CONTROL,
) -> None:
    """Writes all entries that you may see as JSON, one a line, the newest first."""
    wanted = _request(_Wanted(account, principal, resource, method, outcome, since, until))
    with control_channel(control) as channel, _written(file) as lines:
        count = 0
        for count, entry in enumerate(_entries(channel, wanted, PAGE_SIZE), 1):
            lines.write(MessageToJson(entry, preserving_proto_field_name=True, indent=None, ensure_ascii=False) + "\n")
            if count % REPORT_EVERY == 0:
                err.print(f"{count:,} entries, back to {time_text(entry.event_time)}", style="dim")
    err.print(f"{count:,} entries exported", style="dim")


@dataclass(frozen=True)
class _Wanted:
    account: str | None
    principal: str
    resource: str
    method: str
    outcome: Outcome | None
    since: datetime | None
    until: datetime | None


def _request(wanted: _Wanted) -> audit_service_pb2.ListAuditEntriesRequest:
    request = audit_service_pb2.ListAuditEntriesRequest(
        account=wanted.account or "", principal=wanted.principal, resource=wanted.resource, method=wanted.method
    )
    if wanted.outcome is not None:
        request.outcome = audit_entry_pb2.AuditOutcome.Value(f"AUDIT_OUTCOME_{wanted.outcome.name.upper()}")
    if wanted.since is not None:
        request.start_time.FromDatetime(wanted.since.replace(tzinfo=UTC))
    if wanted.until is not None:
        request.end_time.FromDatetime(wanted.until.replace(tzinfo=UTC))
    return request


def _entries(
    channel: grpc.Channel, request: audit_service_pb2.ListAuditEntriesRequest, page_size: int
) -> Iterator[audit_entry_pb2.AuditEntry]:
    """All entries, page by page."""
    stub = audit_service_pb2_grpc.AuditServiceStub(channel)
    request.page_size = page_size
    while True:
        response = stub.ListAuditEntries(request, timeout=TIMEOUT_S)
        yield from response.audit_entries
        request.page_token = response.next_page_token
        if not request.page_token:
            return


@contextmanager
def _written(file: Path | None) -> Iterator[TextIO]:
    """The file, which is there under its name only once all is in it; standard output without one."""
    if file is None:
        yield sys.stdout
        return
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("w", encoding="utf-8") as lines:
            yield lines
        part.replace(file)
    except OSError as error:
        fail(f"Cannot write {file}: {error.strerror}; choose another place by --file")
    finally:
        part.unlink(missing_ok=True)


def _table(entries: list[audit_entry_pb2.AuditEntry]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("when", "outcome", "who", "from", "call", "resource", "calls"):
        table.add_column(column, justify="right" if column == "calls" else "left", overflow="fold")
    for entry in entries:
        outcome = audit_entry_pb2.AuditOutcome.Name(entry.outcome).removeprefix("AUDIT_OUTCOME_")
        texts = (
            time_text(entry.event_time),
            f"{outcome} ({entry.reason})" if entry.reason else outcome,
            entry.principal or entry.caller_note,
            f"{entry.peer} at {entry.node}" if entry.node else entry.peer,
            entry.method.rpartition("/")[2],
            entry.resource,
            f"{entry.call_count:,}",
        )
        table.add_row(*map(literal, texts))
    return table
