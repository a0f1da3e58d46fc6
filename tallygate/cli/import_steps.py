"""The steps of an import: teams, keys, budgets and rules, in this order. What is there already stays as it is."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.cli.console import err
from tallygate.cli.key_file import IMPORT_MAX
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import TIMEOUT_S
from tallygate.control.v1 import (
    api_key_pb2,
    budget_pb2,
    key_service_pb2,
    key_service_pb2_grpc,
    limit_config_pb2,
    limit_service_pb2,
    limit_service_pb2_grpc,
    team_service_pb2,
    team_service_pb2_grpc,
)
from tallygate.importing.plan import Metric, Period, Plan, PlannedKey

_PERIODS: Final = {
    Period.DAY: budget_pb2.CALENDAR_PERIOD_DAY,
    Period.WEEK: budget_pb2.CALENDAR_PERIOD_WEEK,
    Period.MONTH: budget_pb2.CALENDAR_PERIOD_MONTH,
    Period.IN_ALL: budget_pb2.CALENDAR_PERIOD_IN_ALL,
}
_METRICS: Final = {
    Metric.REQUESTS: limit_config_pb2.RATE_METRIC_REQUESTS,
    Metric.TOKENS: limit_config_pb2.RATE_METRIC_TOTAL_TOKENS,
    Metric.CONCURRENT: limit_config_pb2.RATE_METRIC_CONCURRENT_REQUESTS,
}


@dataclass(slots=True)
class Made:
    """How many were made, and how many were there already."""

    new: int = 0
    there: int = 0


def make(channel: grpc.Channel, account: str, plan: Plan) -> Made:
    """Makes what is not there yet; what was made stays where a later step fails, and a repeat goes on after it."""
    made = Made()
    teams = team_service_pb2_grpc.TeamServiceStub(channel)
    _make_each(
        made,
        teams.CreateTeam,
        (
            team_service_pb2.CreateTeamRequest(
                name=f"{account}/teams/{team.id}", display_name=team.display_name, idempotency_key=str(uuid.uuid4())
            )
            for team in plan.teams
        ),
    )
    _make_keys(made, channel, account, plan.keys)
    limits = limit_service_pb2_grpc.LimitServiceStub(channel)
    _make_each(
        made,
        limits.CreateBudget,
        (
            limit_service_pb2.CreateBudgetRequest(
                name=f"{account}/budgets/{budget.id}",
                place=f"{account}/{budget.place}",
                unit=budget_pb2.BUDGET_UNIT_MONEY,
                amount_units=budget.amount_nanos,
                period=_PERIODS[budget.period],
                initial_spent_units=budget.spent_nanos,
                idempotency_key=str(uuid.uuid4()),
            )
            for budget in plan.budgets
        ),
    )
    _make_each(
        made,
        limits.CreateRateRule,
        (
            limit_service_pb2.CreateRateRuleRequest(
                name=f"{account}/rateRules/{rule.id}",
                place=f"{account}/{rule.place}",
                metric=_METRICS[rule.metric],
                limit_units=rule.limit_units,
                idempotency_key=str(uuid.uuid4()),
            )
            for rule in plan.rules
        ),
    )
    return made


def _make_each(made: Made, create: Callable[..., Any], requests: Iterable[Any]) -> None:
    for request in requests:
        try:
            create(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
            made.there += 1
        else:
            made.new += 1


def _make_keys(made: Made, channel: grpc.Channel, account: str, keys: list[PlannedKey]) -> None:
    """Those that are not there; deleted ones count as there, since no name is used again."""
    stub = key_service_pb2_grpc.KeyServiceStub(channel)
    request = key_service_pb2.ListKeysRequest(account=account, show_deleted=True)
    there = {key.name for key in all_pages(stub.ListKeys, request, "keys").keys}
    new = [key for key in keys if f"{account}/keys/{key.id}" not in there]
    made.there += len(keys) - len(new)
    for start in range(0, len(new), IMPORT_MAX):
        batch = [_key(account, key) for key in new[start : start + IMPORT_MAX]]
        stub.ImportKeys(
            key_service_pb2.ImportKeysRequest(account=account, keys=batch, idempotency_key=str(uuid.uuid4())),
            timeout=TIMEOUT_S,
        )
        made.new += len(batch)
        err.print(f"{start + len(batch):,} of {len(new):,} keys", style="dim")


def _key(account: str, key: PlannedKey) -> key_service_pb2.ImportedKey:
    made = key_service_pb2.ImportedKey(
        name=f"{account}/keys/{key.id}",
        secret_sha256=key.secret_sha256,
        display_name=key.display_name,
        team=key.team,
        scope=api_key_pb2.KeyScope(
            all_services=True, all_models=not key.models, models=[f"models/{model}" for model in key.models]
        ),
    )
    if key.networks:
        made.networks.CopyFrom(api_key_pb2.KeyNetworks(networks=key.networks))
    if key.expire_time_s:
        made.expire_time.CopyFrom(Timestamp(seconds=key.expire_time_s))
    return made
