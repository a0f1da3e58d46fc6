"""Checks of a fleet: from what its programs say of themselves, what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tallygate.control.v1 import diagnostics_pb2, node_pb2
from tallygate.metering.v1 import diagnostics_service_pb2

CLOCK_WARNING_US: Final = 1_000_000
"""Minimum difference of clocks that is worth a word."""
CLOCK_ERROR_US: Final = 5_000_000
"""Minimum difference of clocks at which periods of budgets begin on a node before control admits it."""
UNCOMMITTED_US: Final = 10_000_000
"""Minimum age of what is booked and not committed that is worth a word."""
CERTIFICATE_DAYS: Final = 30
"""Number of days before a certificate's end from which on it is worth a word."""
SECONDS_PER_DAY: Final = 86_400
ERROR, WARNING = "error", "warning"

Node = diagnostics_service_pb2.GetDiagnosticsResponse


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong: how badly, where, what, and what to do."""

    severity: str
    where: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Program:
    """One program as it was found. `problem`: why it could not be asked, and `remedy` of that.

    `ahead_us`: its clock next to this machine's, exact to `unsure_us`. `node`: of a metering node.
    """

    where: str
    problem: str = ""
    remedy: str = "See that it runs, and that this machine may reach it."
    diagnostics: diagnostics_pb2.Diagnostics = field(default_factory=diagnostics_pb2.Diagnostics)
    node: Node | None = None
    ahead_us: int = 0
    unsure_us: int = 0
    not_serving: Sequence[str] = ()
    certificate_ends_s: int | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """All that was found. `known`: nodes as control knows them; `leased`: those of them that have open leases."""

    programs: Sequence[Program]
    known: Sequence[node_pb2.Node]
    leased: frozenset[str]
    config_version: int
    contract_digest: str
    now_s: int


def complaints(fleet: Fleet) -> list[Complaint]:
    """What is wrong, the worst first."""
    found = [
        *(each for program in fleet.programs for each in _of_program(program, fleet.now_s)),
        *_of_clocks(fleet.programs),
        *_of_versions(fleet),
        *_of_nodes(fleet),
        *_of_settings(fleet),
    ]
    return sorted(found, key=lambda each: (each.severity, each.where))


def _of_program(program: Program, now_s: int) -> Iterator[Complaint]:
    where = program.where
    if program.problem:
        yield Complaint(ERROR, where, program.problem, program.remedy)
        return
    if program.diagnostics.database_problem:
        yield Complaint(ERROR, where, program.diagnostics.database_problem, "It goes on by itself when it answers.")
    elif program.not_serving:
        what = f"NOT_SERVING: {', '.join(program.not_serving)}."
        yield Complaint(ERROR, where, what, "Its log says why, as readiness_changed.")
    if program.certificate_ends_s is not None:
        days = (program.certificate_ends_s - now_s) // SECONDS_PER_DAY
        if days < CERTIFICATE_DAYS:
            what = f"Its certificate expires in {days} days."
            yield Complaint(WARNING, where, what, "Replace the file; new connections use the new one.")
    if program.node is not None:
        yield from _of_node(where, program.node)


def _of_node(where: str, node: Node) -> Iterator[Complaint]:
    if not node.control_answers:
        what = "Its last exchange of leases was not answered."
        remedy = "Its log says why, as outage_began. After a restore: `tallygate recover`."
        yield Complaint(ERROR, where, what, remedy)
    if node.backlog_count * 2 >= node.backlog_count_max:
        what = f"{node.backlog_count:,} records wait for their commit, of at most {node.backlog_count_max:,}."
        yield Complaint(ERROR, where, what, "See why the metering database is slow; then add nodes or a faster disk.")
    behind_us = (node.diagnostics.now_time.ToNanoseconds() - node.fresh_through_time.ToNanoseconds()) // 1_000
    if behind_us > UNCOMMITTED_US:
        what = f"What it booked {behind_us // 1_000_000} s ago is not committed."
        yield Complaint(ERROR, where, what, "See why the metering database does not take commits.")


def _of_clocks(programs: Iterable[Program]) -> Iterator[Complaint]:
    """Nodes next to control, and control next to this machine."""
    asked = [program for program in programs if not program.problem]
    control = next((program for program in asked if program.node is None), None)
    if control is None:
        return
    for program in asked:
        ahead_us, unsure_us, whose = program.ahead_us, program.unsure_us, "this machine's"
        if program is not control:
            ahead_us, unsure_us, whose = ahead_us - control.ahead_us, unsure_us + control.unsure_us, "control's"
        least_us = abs(ahead_us) - unsure_us
        if least_us >= CLOCK_WARNING_US:
            severity = ERROR if least_us >= CLOCK_ERROR_US and program is not control else WARNING
            direction = "ahead of" if ahead_us > 0 else "behind"
            what = f"Its clock is {abs(ahead_us) / 1_000_000:.1f} s {direction} {whose}."
            yield Complaint(severity, program.where, what, "Let NTP set the clocks of all machines.")


def _of_versions(fleet: Fleet) -> Iterator[Complaint]:
    asked = [program for program in fleet.programs if not program.problem]
    versions = sorted({program.diagnostics.version for program in asked})
    if len(versions) > 1:
        what = f"Programs of several versions run: {', '.join(versions)}."
        yield Complaint(WARNING, "fleet", what, "Finish the upgrade: docs/upgrade.md.")
    for program in asked:
        if program.diagnostics.contract_digest != fleet.contract_digest:
            what = f"It speaks another contract ({program.diagnostics.contract_digest}) than this command."
            yield Complaint(WARNING, program.where, what, "Use the command of its version; one minor apart is well.")


def _of_nodes(fleet: Fleet) -> Iterator[Complaint]:
    for node in fleet.known:
        where = f"node {node.node}"
        if not node.live and node.node in fleet.leased:
            what = f"It is silent since {node.last_heard_time.ToJsonString()} and has units on lease."
            remedy = "Start it again, or any other node: that one takes it over within 40 s."
            yield Complaint(ERROR, where, what, remedy)
        elif node.live and node.acknowledged_version < fleet.config_version:
            what = f"It has configuration {node.acknowledged_version:,} of {fleet.config_version:,}."
            yield Complaint(WARNING, where, what, "Ask again; if it stays behind, start the node again.")
    databases = sorted({node.metering_database_id for node in fleet.known if node.live} - {""})
    if len(databases) > 1:
        what = f"Nodes write to several metering databases: {', '.join(databases)}."
        yield Complaint(ERROR, "fleet", what, "Give all nodes of a fleet the same --database-url.")
    examined = {program.node.node for program in fleet.programs if program.node is not None}
    missed = [node.node for node in fleet.known if node.live and node.node not in examined]
    if missed:
        what = f"Nodes that control hears from were not examined: {', '.join(missed)}."
        yield Complaint(WARNING, "fleet", what, "Name them all with --metering.")


def _of_settings(fleet: Fleet) -> Iterator[Complaint]:
    asked = [program for program in fleet.programs if not program.problem]
    if len({program.diagnostics.asks_for_proof for program in asked}) > 1:
        open_ones = ", ".join(program.where for program in asked if not program.diagnostics.asks_for_proof)
        what = "Some programs ask callers for proof and some do not."
        yield Complaint(WARNING, open_ones, what, "Say --auth there, or see that nobody else reaches it.")
    nodes = [program for program in asked if program.node is not None]
    if len({program.where.partition(" at ")[0] for program in nodes}) > 1 and any(
        program.diagnostics.database == "sqlite" for program in nodes
    ):
        what = "Several nodes share a SQLite file, and wait for one another's commits."
        yield Complaint(WARNING, "fleet", what, "Use PostgreSQL for more than one node.")
    for service in ([program for program in asked if program.node is None], nodes):
        revisions = sorted({program.diagnostics.schema_revision for program in service} - {""})
        if len(revisions) > 1:
            what = f"Databases of several revisions are in use: {', '.join(revisions)}."
            yield Complaint(ERROR, "fleet", what, "Give programs of one service the same --database-url.")
