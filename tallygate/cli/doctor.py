"""`tallygate doctor`: both services examined, what is wrong with them, and what to do about it."""

from __future__ import annotations

import json as json_codec
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import grpc
import typer
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.table import Table

from tallygate._channel import Channels
from tallygate._diagnostics import contract_digest
from tallygate._proxies import by_way_of
from tallygate.cli.console import literal, out
from tallygate.cli.doctor_checks import ERROR, Complaint, Fleet, Program, complaints
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    JsonOption,
    MeteringOption,
    channels_to,
    control_address,
    metering_addresses,
    sentence,
)
from tallygate.control.v1 import node_pb2, operations_service_pb2, operations_service_pb2_grpc
from tallygate.metering.v1 import diagnostics_service_pb2, diagnostics_service_pb2_grpc

_NS_PER_US = 1_000
_REMEDIES = {
    grpc.StatusCode.UNAUTHENTICATED: "Prove who you are: tallygate login, or --token-file.",
    grpc.StatusCode.PERMISSION_DENIED: "Examine it as somebody who has OPERATIONS_READ, such as an operator.",
    grpc.StatusCode.UNIMPLEMENTED: "Name control by --control and nodes by --metering.",
}
_SERVING = health_pb2.HealthCheckResponse.SERVING


def doctor(
    *, control: ControlOption = DEFAULT_CONTROL, metering: MeteringOption = None, json: JsonOption = False
) -> None:
    """Examines both services, and says what is wrong and what to do; exit status 1 if anything is that bad.

    Every replica and every node that is named is asked; what the books say is for `tallygate audit-books`.
    """
    controls = [address.strip() for address in control_address(control).split(",")]
    nodes = metering_addresses(metering)
    channels = channels_to(*controls, *nodes)
    programs = [
        *(_examined(channels, address, "control", _of_control) for address in controls),
        *(_examined(channels, address, "node", _of_node) for address in nodes),
    ]
    known, leased, version = _nodes(channels, programs, controls)
    fleet = Fleet(programs, known, leased, version, contract_digest(), int(time.time()))
    found = complaints(fleet)
    if json:
        print(json_codec.dumps({"programs": [_facts(each) for each in programs], "found": [*map(asdict, found)]}))
    else:
        _print(programs, found)
    raise typer.Exit(1 if any(each.severity == ERROR for each in found) else 0)


def _examined(channels: Channels, address: str, kind: str, ask: Callable[[grpc.Channel], Any]) -> Program:
    where = f"{kind} {address}"
    with channels.open(address) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
            listed = health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest(), timeout=TIMEOUT_S)
            sent_ns = time.time_ns()
            answer = ask(channel)
            took_ns = time.time_ns() - sent_ns
        except grpc.RpcError as error:
            found = Program(where, problem=sentence(error, f"the server at {address}", by_way_of(address)))
            return replace(found, remedy=_REMEDIES.get(error.code(), found.remedy))
    node = answer if isinstance(answer, diagnostics_service_pb2.GetDiagnosticsResponse) else None
    ahead_ns = answer.diagnostics.now_time.ToNanoseconds() - (sent_ns + took_ns // 2)
    return Program(
        where=f"node {node.node} at {address}" if node else where,
        diagnostics=answer.diagnostics,
        node=node,
        ahead_us=ahead_ns // _NS_PER_US,
        unsure_us=took_ns // 2 // _NS_PER_US,
        not_serving=sorted(name for name, said in listed.statuses.items() if name and said.status != _SERVING),
        certificate_ends_s=_certificate_end(channels, address),
    )


def _of_control(channel: grpc.Channel) -> operations_service_pb2.GetDiagnosticsResponse:
    stub = operations_service_pb2_grpc.OperationsServiceStub(channel)
    return stub.GetDiagnostics(operations_service_pb2.GetDiagnosticsRequest(), timeout=TIMEOUT_S)


def _of_node(channel: grpc.Channel) -> diagnostics_service_pb2.GetDiagnosticsResponse:
    stub = diagnostics_service_pb2_grpc.DiagnosticsServiceStub(channel)
    return stub.GetDiagnostics(diagnostics_service_pb2.GetDiagnosticsRequest(), timeout=TIMEOUT_S)


def _certificate_end(channels: Channels, address: str) -> int | None:
    """When the certificate that callers of this address see expires; None where there is none to see."""
    security = channels.security
    if not security.ca_file:
        return None
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(security.ca_file))
    context.set_alpn_protocols(["h2"])
    if security.cert_file:
        context.load_cert_chain(str(security.cert_file), str(security.key_file))
    host = host.strip("[]")
    with suppress(OSError), socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        with context.wrap_socket(connection, server_hostname=host) as tls:
            certificate = tls.getpeercert() or {}
        return ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    return None


def _nodes(
    channels: Channels, programs: list[Program], controls: list[str]
) -> tuple[list[node_pb2.Node], frozenset[str], int]:
    """Nodes as the first replica that answers knows them, those with open leases, and what they should know."""
    for address, program in zip(controls, programs, strict=False):
        if program.problem:
            continue
        with channels.open(address) as channel:
            stub = operations_service_pb2_grpc.OperationsServiceStub(channel)
            listed = all_pages(stub.ListNodes, operations_service_pb2.ListNodesRequest(), "nodes")
            silent = [node.node for node in listed.nodes if not node.live]
            leased = frozenset(name for name in silent if _has_leases(stub, name))
            return list(listed.nodes), leased, listed.config_version
    return [], frozenset(), 0


def _has_leases(stub: operations_service_pb2_grpc.OperationsServiceStub, node: str) -> bool:
    request = operations_service_pb2.ListLeasesRequest(node=node, page_size=1)
    return bool(stub.ListLeases(request, timeout=TIMEOUT_S).leases)


def _facts(program: Program) -> dict[str, Any]:
    said = program.node or program.diagnostics
    facts = MessageToDict(said, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    clock = {"clock_ahead_us": program.ahead_us, "clock_unsure_us": program.unsure_us}
    return {"where": program.where, "problem": program.problem, **clock, **facts}


def _print(programs: list[Program], found: list[Complaint]) -> None:
    table = Table("program", "version", "contract", "database", "clock")
    for program in programs:
        said = program.diagnostics
        version = f"{said.version} {said.build}".strip()
        database = f"{said.database} {said.schema_revision}".strip()
        clock = f"{program.ahead_us / 1_000:+,.0f} ms" if not program.problem else ""
        table.add_row(*map(literal, (program.where, version, said.contract_digest, database, clock)))
    out.print(table)
    if not found:
        out.print("Nothing is wrong.", style="green")
        return
    wrong = Table("", "where", "what is wrong", "what to do")
    for each in found:
        style = "bold red" if each.severity == ERROR else "yellow"
        wrong.add_row(literal(each.severity, style), *map(literal, (each.where, each.what, each.remedy)))
    out.print(wrong)
