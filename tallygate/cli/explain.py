"""`tallygate explain`: why a request was denied or had to end, or who paid for it."""

from __future__ import annotations

import json as json_codec
from collections.abc import Sequence
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from rich.table import Table

from tallygate.cli.console import out
from tallygate.cli.money import format_amount
from tallygate.cli.names import account_name
from tallygate.cli.rpc import TIMEOUT_S, JsonOption, MeteringOption, fail, metering_addresses, metering_channel
from tallygate.cli.show import time_text
from tallygate.cli.show_access import table
from tallygate.cli.show_usage import request_table
from tallygate.metering.v1 import (
    decision_pb2,
    explanation_pb2,
    usage_service_pb2,
    usage_service_pb2_grpc,
)

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", parser=account_name)]
RequestArgument = Annotated[str, typer.Argument(metavar="REQUEST_ID", help="As the inference server calls it.")]


def explain(
    account: AccountArgument, request_id: RequestArgument, *, metering: MeteringOption = None, json: JsonOption = False
) -> None:
    """Says why a request was denied or had to end, or who paid; each node remembers its own denials."""
    request = usage_service_pb2.ExplainRequestRequest(account=account, request_id=request_id)
    answers = {address: _answer(address, request) for address in metering_addresses(metering)}
    if json:
        nodes = [{"metering": address, **_as_json(answer)} for address, answer in answers.items()]
        print(json_codec.dumps({"nodes": nodes}, indent=2))
        return
    parts = next(iter(answers.values())).parts
    denials = sorted(
        ((address, denial) for address, answer in answers.items() for denial in answer.denials),
        key=lambda found: found[1].deny_time.ToNanoseconds(),
    )
    if parts:
        out.print("On record", style="dim")
        out.print(request_table(parts))
    if denials:
        out.print("Denied", style="dim")
        out.print(denials_table(denials))
    since = [f"{address} since {time_text(answer.denials_known_since_time)}" for address, answer in answers.items()]
    if not parts and not denials:
        fail(
            f"Nothing is known of {request_id} in {account}: there is no record of it, and these nodes remember no "
            f"denial of it: {', '.join(since)}; ask the node that answered it, with --metering."
        )
    out.print(f"denials are remembered by {', '.join(since)}", style="dim")


def _answer(address: str, request: usage_service_pb2.ExplainRequestRequest) -> usage_service_pb2.ExplainRequestResponse:
    with metering_channel(address) as channel:
        return usage_service_pb2_grpc.UsageServiceStub(channel).ExplainRequest(request, timeout=TIMEOUT_S)


def _as_json(answer: usage_service_pb2.ExplainRequestResponse) -> dict[str, object]:
    return MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def denials_table(denials: Sequence[tuple[str, explanation_pb2.RequestDenial]]) -> Table:
    """Denials, each with the address of the node that remembers it."""
    return table(
        ("denied", "service", "reason", "why", "what was left", "worth another attempt", "key", "by node"),
        (
            (
                time_text(denial.deny_time),
                denial.service,
                decision_pb2.DecisionReason.Name(denial.decision.reason).removeprefix("DECISION_REASON_"),
                denial.key_problem or denial.decision.message,
                _left(denial.decision),
                _again(denial.decision),
                denial.credential,
                address,
            )
            for address, denial in denials
        ),
    )


def _again(decision: decision_pb2.Decision) -> str:
    """Whether to send the request again, and when."""
    if not decision.retryable:
        return "no"
    return f"after {decision.retry_after.ToMilliseconds() / 1_000:g} s" if decision.HasField("retry_after") else "yes"


def _left(decision: decision_pb2.Decision) -> str:
    """The figures of the limit or payer that refused."""
    said = []
    if decision.HasField("remaining_tokens"):
        said.append(f"{decision.remaining_tokens:,} tokens")
    if decision.HasField("remaining_nanos"):
        said.append(format_amount(decision.remaining_nanos))
    if decision.HasField("rate"):
        rate = decision.rate
        said.append(f"{rate.remaining_units:,} of {rate.limit_units:,} {rate.metric.lower()}, {rate.rate_rule}")
    if decision.HasField("budget"):
        budget = decision.budget
        amount = format_amount(budget.amount_units) if budget.is_money else f"{budget.amount_units:,} tokens"
        until = f", until {time_text(budget.end_time)}" if budget.HasField("end_time") else ""
        said.append(f"{budget.budget} of {amount}{until}")
    return "; ".join(said)
