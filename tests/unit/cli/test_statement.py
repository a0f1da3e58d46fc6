"""Statements of months of which nodes keep sums by hour or by day."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from concurrent import futures
from typing import Any
from unittest.mock import Mock

import grpc
import pytest
from typer.testing import CliRunner

from tallygate.cli.statement import app
from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    ledger_pb2,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
    statement_pb2,
)
from tallygate.metering.v1 import usage_service_pb2_grpc

CHAT = "accounts/acme/services/chat"
BY_HOUR = "end_time must be at a whole hour of UTC"


def _refuse(_request: object, context: grpc.ServicerContext) -> Any:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, BY_HOUR)


@pytest.fixture
def address() -> Iterator[str]:
    """A ledger with usage of a month, and a node that keeps it by hour."""
    line = statement_pb2.StatementLine(
        kind=ledger_pb2.LEDGER_ENTRY_KIND_USAGE, amount_nanos=-7, inference_service=CHAT, model="models/llama"
    )
    bought = statement_pb2.StatementLine(
        kind=ledger_pb2.LEDGER_ENTRY_KIND_RESERVATION, amount_nanos=-5, inference_service=CHAT, model="models/llama"
    )
    found = statement_pb2.Statement(
        account="accounts/acme", currency_code="USD", usage_nanos=-7, reservation_nanos=-5, lines=[line, bought]
    )
    accounts, lifecycle, usage = Mock(), Mock(), Mock()
    accounts.GetStatement = lambda _request, _context: account_service_pb2.GetStatementResponse(statement=found)
    lifecycle.ListInferenceServices = lambda _request, _context: lifecycle_service_pb2.ListInferenceServicesResponse()
    usage.QueryUsage = _refuse
    server = grpc.server(futures.ThreadPoolExecutor(2))
    account_service_pb2_grpc.add_AccountServiceServicer_to_server(accounts, server)
    lifecycle_service_pb2_grpc.add_LifecycleServiceServicer_to_server(lifecycle, server)
    usage_service_pb2_grpc.add_UsageServiceServicer_to_server(usage, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_the_ledger_is_shown_where_nodes_no_longer_know_a_month(address: str) -> None:
    """Tokens are left out, not zero, and why is said."""

    def said(*options: str) -> str:
        done = CliRunner().invoke(
            app, ["statement", "acme", "--control", address, "--metering", address, *options], catch_exceptions=False
        )
        assert done.exit_code == 0, done.stderr
        assert BY_HOUR in done.stderr
        return done.stdout

    assert json.loads(said("--json"))["usage"] is None
    rows = [row for row in csv.DictReader(io.StringIO(said("--csv"))) if row["service"] == CHAT]
    assert {row["kind"]: row["amount"] for row in rows} == {"usage": "-0.000000007", "reservation": "-0.000000005"}
    assert {row[name] for row in rows for name in ("requests", "billed_tokens", "booked_cost")} == {""}
    assert "-0.000000007 USD" in said()
