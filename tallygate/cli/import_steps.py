"""The steps of an import: teams, their limits, keys, their limits. What is there already stays as it is.

A key with limits opens nothing before they stand: it is made disabled, and enabled at last. One that was left disabled
is known by never having been changed, and a repeat enables it; one that somebody has disabled stays so.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.cli.console import err
from tallygate.cli.key_file import IMPORT_MAX
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import TIMEOUT_S, fail
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
from tallygate.importing.plan import Metric, Period, Plan, PlannedBudget, PlannedKey, PlannedRule

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
_LIMITS_MAX: Final = 1_000
"""Maximum number of budgets and rules of an account."""
_LIMITS_ON_PLACE_MAX: Final = 100
"""Maximum number of them on one team or key."""


@dataclass(slots=True)
class Made:
    """How many were made, and how many were there already."""

    new: int = 0
    there: int = 0


def make(channel: grpc.Channel, account: str, plan: Plan) -> Made:
    """Makes what is not there yet; what was made stays where a later step fails, and a repeat goes on after it.

    Teams have their limits before there are keys to open anything for them, and so have keys. What was deleted here
    gets neither limits nor keys.
    """
    there = _keys(channel, account)
    teams_gone = _deleted_teams(channel, account)
    planned = {f"{account}/keys/{key.id}": key for key in plan.keys}
    unknown = {name: key for name, key in planned.items() if name not in there}
    left_out = {name for name, key in unknown.items() if f"{account}/teams/{key.team}" in teams_gone}
    keys_gone = {key.name for key in there.values() if key.HasField("delete_time")}
    limits = _limits(channel, account, plan, teams_gone | keys_gone | left_out)
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
    made.there += len(plan.budgets) + len(plan.rules) - len(limits)
    of_keys = f"{account}/keys/"
    limited = {f"{account}/{place}" for place in plan.places}
    stub = limit_service_pb2_grpc.LimitServiceStub(channel)
    _make_each(made, _create(stub), (each for each in limits if not each.place.startswith(of_keys)))
    new = [_key(name, key) for name, key in unknown.items() if name not in left_out]
    for key in new:
        key.disabled = key.name in limited
    made.there += len(planned) - len(unknown)
    if left_out:
        err.print(f"{len(left_out):,} keys are left out: their teams were deleted here.", style="dim")
    _make_keys(made, channel, account, new)
    _make_each(made, _create(stub), (each for each in limits if each.place.startswith(of_keys)))
    left = [name for name in planned if name in there and _was_left_disabled(there[name])]
    _enable(channel, [*left, *(key.name for key in new if key.disabled)])
    return made


_Limit = limit_service_pb2.CreateBudgetRequest | limit_service_pb2.CreateRateRuleRequest


def _limits(channel: grpc.Channel, account: str, plan: Plan, gone: Collection[str]) -> list[_Limit]:
    """The limits that are not there, but of places that are gone.

    Ends the command where the account, or a place in it, cannot have so many, before there is a key.
    """
    stub = limit_service_pb2_grpc.LimitServiceStub(channel)
    budgets = limit_service_pb2.ListBudgetsRequest(account=account)
    rules = limit_service_pb2.ListRateRulesRequest(account=account)
    there = {one.name: one.place for one in all_pages(stub.ListBudgets, budgets, "budgets").budgets}
    there |= {one.name: one.place for one in all_pages(stub.ListRateRules, rules, "rate_rules").rate_rules}
    planned: list[_Limit] = [_budget(account, one) for one in plan.budgets]
    planned += [_rule(account, one) for one in plan.rules]
    new = [each for each in planned if each.name not in there and each.place not in gone]
    if new and len(there) + len(new) > _LIMITS_MAX:
        fail(
            f"{account} would have {len(there) + len(new):,} budgets and rules, of at most {_LIMITS_MAX:,}; nothing "
            "was made: take limits off there first, or import into several accounts"
        )
    counts = Counter([*there.values(), *(each.place for each in new)])
    for place in (each.place for each in new if counts[each.place] > _LIMITS_ON_PLACE_MAX):
        fail(
            f"{place} would have {counts[place]:,} budgets and rules, of at most {_LIMITS_ON_PLACE_MAX}; nothing was "
            "made: take limits off it first, here or where they come from"
        )
    return new


def _create(stub: limit_service_pb2_grpc.LimitServiceStub) -> Callable[..., Any]:
    def create(limit: _Limit, timeout: float) -> object:
        if isinstance(limit, limit_service_pb2.CreateBudgetRequest):
            return stub.CreateBudget(limit, timeout=timeout)
        return stub.CreateRateRule(limit, timeout=timeout)

    return create


def _budget(account: str, budget: PlannedBudget) -> limit_service_pb2.CreateBudgetRequest:
    return limit_service_pb2.CreateBudgetRequest(
        name=f"{account}/budgets/{budget.id}",
        place=f"{account}/{budget.place}",
        unit=budget_pb2.BUDGET_UNIT_MONEY,
        amount_units=budget.amount_nanos,
        period=_PERIODS[budget.period],
        initial_spent_units=budget.spent_nanos,
        idempotency_key=str(uuid.uuid4()),
    )


def _rule(account: str, rule: PlannedRule) -> limit_service_pb2.CreateRateRuleRequest:
    return limit_service_pb2.CreateRateRuleRequest(
        name=f"{account}/rateRules/{rule.id}",
        place=f"{account}/{rule.place}",
        metric=_METRICS[rule.metric],
        model=f"models/{rule.model}" if rule.model else "",
        limit_units=rule.limit_units,
        idempotency_key=str(uuid.uuid4()),
    )


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


def _keys(channel: grpc.Channel, account: str) -> dict[str, api_key_pb2.ApiKey]:
    """Those that there are, by name; deleted ones count, since no name is used again."""
    stub = key_service_pb2_grpc.KeyServiceStub(channel)
    request = key_service_pb2.ListKeysRequest(account=account, show_deleted=True)
    return {key.name: key for key in all_pages(stub.ListKeys, request, "keys").keys}


def _deleted_teams(channel: grpc.Channel, account: str) -> set[str]:
    """The names of those that were deleted here; none is used again."""
    stub = team_service_pb2_grpc.TeamServiceStub(channel)
    request = team_service_pb2.ListTeamsRequest(account=account, show_deleted=True)
    return {team.name for team in all_pages(stub.ListTeams, request, "teams").teams if team.HasField("delete_time")}


def _make_keys(made: Made, channel: grpc.Channel, account: str, new: list[key_service_pb2.ImportedKey]) -> None:
    stub = key_service_pb2_grpc.KeyServiceStub(channel)
    for start in range(0, len(new), IMPORT_MAX):
        batch = new[start : start + IMPORT_MAX]
        stub.ImportKeys(
            key_service_pb2.ImportKeysRequest(account=account, keys=batch, idempotency_key=str(uuid.uuid4())),
            timeout=TIMEOUT_S,
        )
        made.new += len(batch)
        err.print(f"{start + len(batch):,} of {len(new):,} keys", style="dim")


def _was_left_disabled(key: api_key_pb2.ApiKey) -> bool:
    return key.disabled and key.update_time == key.create_time and not key.HasField("delete_time")


def _enable(channel: grpc.Channel, names: Iterable[str]) -> None:
    stub = key_service_pb2_grpc.KeyServiceStub(channel)
    for name in names:
        stub.EnableKey(key_service_pb2.EnableKeyRequest(name=name), timeout=TIMEOUT_S)


def _key(name: str, key: PlannedKey) -> key_service_pb2.ImportedKey:
    made = key_service_pb2.ImportedKey(
        name=name,
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
