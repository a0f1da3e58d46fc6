"""`tallygate rule`: rate rules on models, accounts, teams, services and keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from tallygate.cli.console import out, print_json, print_list
from tallygate.cli.durations import parse_duration
from tallygate.cli.limit_names import place_name, rate_rule_name, subject_name
from tallygate.cli.names import model_name
from tallygate.cli.numbers import INT64_MAX
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    CsvOption,
    JsonOption,
    KeyOption,
    control_channel,
    key_or_new,
)
from tallygate.cli.show_limits import rate_rule_facts, rate_rule_table
from tallygate.control.v1 import limit_config_pb2, limit_service_pb2, limit_service_pb2_grpc, rate_rule_pb2

app = typer.Typer(help="Rate rules: so many requests or tokens a period, or requests at once.", no_args_is_help=True)

RuleArgument = Annotated[
    str, typer.Argument(metavar="RULE", help="acme/steady, models/llama/steady, or in full", parser=rate_rule_name)
]
PlaceOption = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="PLACE",
        show_default="the account or model in the name",
        help="What it hangs on: teams/search, services/chat or keys/ci of the account.",
    ),
]
_Stub = limit_service_pb2_grpc.LimitServiceStub


class Metric(StrEnum):
    """What a rule counts."""

    requests = "requests"
    input_tokens = "input-tokens"
    output_tokens = "output-tokens"
    tokens = "tokens"
    concurrent = "concurrent"


_METRICS = {
    Metric.requests: limit_config_pb2.RATE_METRIC_REQUESTS,
    Metric.input_tokens: limit_config_pb2.RATE_METRIC_INPUT_TOKENS,
    Metric.output_tokens: limit_config_pb2.RATE_METRIC_OUTPUT_TOKENS,
    Metric.tokens: limit_config_pb2.RATE_METRIC_TOTAL_TOKENS,
    Metric.concurrent: limit_config_pb2.RATE_METRIC_CONCURRENT_REQUESTS,
}


@app.command()
def create(
    rule: RuleArgument,
    metric: Annotated[Metric, typer.Argument(metavar="METRIC", help=", ".join(Metric))],
    limit: Annotated[int, typer.Argument(metavar="LIMIT", help="So many a period, or at once.", min=0, max=INT64_MAX)],
    *,
    on: PlaceOption = "",
    per: Annotated[
        Duration | None,
        typer.Option(metavar="LENGTH", help="Period, 60s to 24h; 60s if left out.", parser=parse_duration),
    ] = None,
    burst: Annotated[
        int, typer.Option(help="The most that gathers; a minute's worth if left out.", min=0, max=INT64_MAX)
    ] = 0,
    model: Annotated[str, typer.Option(help="Only requests of this model count.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="It counts and refuses nothing.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Creates a rate rule."""
    request = limit_service_pb2.CreateRateRuleRequest(
        name=rule,
        place=place_name(on, rule),
        metric=_METRICS[metric],
        limit_units=limit,
        period=per,
        burst_units=burst,
        model=model_name(model) if model else "",
        dry_run=dry_run,
        idempotency_key=key_or_new(idempotency_key),
    )
    with control_channel(control) as channel:
        _print(_Stub(channel).CreateRateRule(request, timeout=TIMEOUT_S).rate_rule, json=json)


@app.command("list")
def list_rules(
    of: Annotated[str, typer.Argument(metavar="ACCOUNT", help="acme, or a model: models/llama", parser=subject_name)],
    *,
    on: PlaceOption = "",
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists the rules of an account, or of a model."""
    request = limit_service_pb2.ListRateRulesRequest(place=place_name(on, of))
    if of.startswith("models/"):
        request.model = of
    else:
        request.account = of
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListRateRules, request, "rate_rules")
        print_list(found, lambda: rate_rule_table(found.rate_rules), json=json, csv=csv)


@app.command()
def show(rule: RuleArgument, *, control: ControlOption = DEFAULT_CONTROL, json: JsonOption = False) -> None:
    """Shows a rule."""
    request = limit_service_pb2.GetRateRuleRequest(name=rule)
    with control_channel(control) as channel:
        _print(_Stub(channel).GetRateRule(request, timeout=TIMEOUT_S).rate_rule, json=json)


@app.command()
def update(
    rule: RuleArgument,
    *,
    limit: Annotated[int | None, typer.Option(help="New limit.", min=0, max=INT64_MAX)] = None,
    per: Annotated[
        Duration | None, typer.Option(metavar="LENGTH", help="New period, 60s to 24h.", parser=parse_duration)
    ] = None,
    burst: Annotated[int | None, typer.Option(help="New burst; 0: a minute's worth.", min=0, max=INT64_MAX)] = None,
    dry_run: Annotated[
        bool | None, typer.Option("--dry-run/--enforce", help="Count only, or refuse from now on.", show_default=False)
    ] = None,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Changes a rule's figures; what is left out stays, and what it has counted goes on."""
    request = limit_service_pb2.UpdateRateRuleRequest(
        name=rule,
        limit_units=limit,
        period=per,
        burst_units=burst,
        dry_run=dry_run,
        idempotency_key=key_or_new(idempotency_key),
    )
    with control_channel(control) as channel:
        _print(_Stub(channel).UpdateRateRule(request, timeout=TIMEOUT_S).rate_rule, json=json)


@app.command()
def delete(
    rule: RuleArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Ends a rule; its name is never used again."""
    request = limit_service_pb2.DeleteRateRuleRequest(name=rule, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print(_Stub(channel).DeleteRateRule(request, timeout=TIMEOUT_S).rate_rule, json=json)


def _print(rule: rate_rule_pb2.RateRule, *, json: bool) -> None:
    print_json(rule) if json else out.print(rate_rule_facts(rule))
