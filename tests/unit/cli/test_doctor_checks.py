"""What the doctor complains of, and that it says nothing of a fleet that is well."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.cli.doctor_checks import ERROR, WARNING, Fleet, Program, complaints
from tallygate.control.v1 import diagnostics_pb2, node_pb2
from tallygate.metering.v1 import diagnostics_service_pb2

NOW_S = 1_800_000_000


def said(**more: object) -> diagnostics_pb2.Diagnostics:
    facts = {"version": "1.0", "contract_digest": "abc", "database": "postgresql", "schema_revision": "0001", **more}
    return diagnostics_pb2.Diagnostics(now_time=Timestamp(seconds=NOW_S), **facts)  # type: ignore[arg-type]


def node(name: str = "a", **more: object) -> Program:
    facts = {"control_answers": True, "backlog_count_max": 10, "fresh_through_time": Timestamp(seconds=NOW_S), **more}
    its = diagnostics_service_pb2.GetDiagnosticsResponse(diagnostics=said(), node=name, **facts)  # type: ignore[arg-type]
    return Program(f"node {name}", diagnostics=its.diagnostics, node=its)


CONTROL = Program("control", diagnostics=said())
KNOWN = node_pb2.Node(node="a", live=True, acknowledged_version=7, metering_database_id="m")
WELL = Fleet([CONTROL, node()], [KNOWN], frozenset(), 7, "abc", NOW_S)


def with_node(**more: object) -> Fleet:
    return replace(WELL, programs=[CONTROL, node("a", **more)])


def with_program(program: Program) -> Fleet:
    return replace(WELL, programs=[CONTROL, program])


def test_a_fleet_that_is_well_is_left_alone() -> None:
    """Not a word."""
    assert complaints(WELL) == []


def test_a_node_that_is_named_twice_is_one() -> None:
    """It shares its file with nobody."""
    alone = replace(node(), where="node a at h:1", diagnostics=said(database="sqlite"))
    assert complaints(replace(WELL, programs=[CONTROL, alone, replace(alone, where="node a at 10.0.0.1:1")])) == []


@pytest.mark.parametrize(
    ("fleet", "severity", "words"),
    [
        (replace(WELL, programs=[Program("control", problem="No answer."), node()]), ERROR, "No answer."),
        (with_program(replace(node(), not_serving=["x.Y"])), ERROR, "NOT_SERVING: x.Y"),
        (with_program(replace(node(), diagnostics=said(database_problem="It is away."))), ERROR, "It is away."),
        (with_program(replace(node(), certificate_ends_s=NOW_S + 86_400 * 29)), WARNING, "in 29 days"),
        (with_program(replace(node(), ahead_us=6_100_000, unsure_us=1_000_000)), ERROR, "6.1 s ahead of control's"),
        (with_program(replace(node(), ahead_us=-1_500_000)), WARNING, "1.5 s behind control's"),
        (with_program(replace(node(), diagnostics=said(version="0.9"))), WARNING, "0.9, 1.0"),
        (with_program(replace(node(), diagnostics=said(contract_digest="old"))), WARNING, "another contract (old)"),
        (with_program(replace(node(), diagnostics=said(asks_for_proof=True))), WARNING, "ask callers for proof"),
        (with_node(control_answers=False), ERROR, "was not answered"),
        (with_node(backlog_count=5), ERROR, "5 records wait"),
        (with_node(fresh_through_time=Timestamp(seconds=NOW_S - 11)), ERROR, "11 s ago is not committed"),
        (replace(WELL, config_version=8), WARNING, "configuration 7 of 8"),
        (
            replace(WELL, known=[KNOWN, node_pb2.Node(node="b")], leased=frozenset("b")),
            ERROR,
            "It is silent since",
        ),
        (
            replace(WELL, known=[KNOWN, node_pb2.Node(node="b", live=True, acknowledged_version=7)]),
            WARNING,
            "not examined: b",
        ),
        (
            replace(
                WELL,
                programs=[CONTROL, node(), node("b")],
                known=[KNOWN, node_pb2.Node(node="b", live=True, acknowledged_version=7, metering_database_id="n")],
            ),
            ERROR,
            "several metering databases: m, n",
        ),
        (
            replace(WELL, programs=[CONTROL, node(), replace(node("b"), diagnostics=said(schema_revision="0002"))]),
            ERROR,
            "several revisions are in use: 0001, 0002",
        ),
        (
            replace(WELL, programs=[CONTROL, node(), replace(node("b"), diagnostics=said(database="sqlite"))]),
            WARNING,
            "share a SQLite file",
        ),
    ],
)
def test_what_is_wrong_is_said_once_with_a_remedy(fleet: Fleet, severity: str, words: str) -> None:
    """Each thing by itself, and nothing beside it."""
    (found,) = complaints(fleet)
    assert (found.severity, words in found.what) == (severity, True), found
    assert found.remedy.endswith(".")


def test_clocks_are_judged_by_what_is_certain() -> None:
    """An answer that took long says little of a clock."""
    assert complaints(with_program(replace(node(), ahead_us=1_900_000, unsure_us=1_000_000))) == []


def test_the_worst_comes_first() -> None:
    """Errors before warnings."""
    found = complaints(replace(with_node(backlog_count=9), config_version=8))
    assert [each.severity for each in found] == [ERROR, WARNING]
