"""`tallygate budget`: caps on the tokens or the money of a period."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.cli.console import err, out, print_json, print_list
from tallygate.cli.limit_names import budget_name, place_name
from tallygate.cli.moments import parse_moment
from tallygate.cli.money import parse_amount
from tallygate.cli.names import account_name
from tallygate.cli.numbers import INT64_MAX
from tallygate.cli.pages import all_pages
from tallygate.cli.rate_rules import PlaceOption
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
from tallygate.cli.show_limits import budget_facts, budget_table
from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    budget_pb2,
    limit_config_pb2,
    limit_service_pb2,
    limit_service_pb2_grpc,
)

app = typer.Typer(help="Budgets: caps on the tokens or the money of a period.", no_args_is_help=True)

BudgetArgument = Annotated[
    str, typer.Argument(metavar="BUDGET", help="acme/daily, or accounts/acme/budgets/daily", parser=budget_name)
]
_Stub = limit_service_pb2_grpc.LimitServiceStub


class Every(StrEnum):
    """How often a budget begins anew."""

    day = "day"
    week = "week"
    month = "month"
    never = "never"


class Each(StrEnum):
    """Who counts for itself."""

    key = "key"
    service = "service"
    team = "team"


_PERIODS = {
    Every.day: budget_pb2.CALENDAR_PERIOD_DAY,
    Every.week: budget_pb2.CALENDAR_PERIOD_WEEK,
    Every.month: budget_pb2.CALENDAR_PERIOD_MONTH,
    Every.never: budget_pb2.CALENDAR_PERIOD_IN_ALL,
}
_MEMBERS = {
    Each.key: limit_config_pb2.LIMIT_MEMBER_EACH_KEY,
    Each.service: limit_config_pb2.LIMIT_MEMBER_EACH_SERVICE,
    Each.team: limit_config_pb2.LIMIT_MEMBER_EACH_TEAM,
}
_TokensOption = Annotated[int | None, typer.Option(help="So many tokens.", min=0, max=INT64_MAX)]
_MoneyOption = Annotated[
    int | None, typer.Option(metavar="AMOUNT", help="So much money, as 12.50.", parser=parse_amount)
]
_UntilOption = Annotated[
    Timestamp | None,
    typer.Option(metavar="MOMENT", help="When a raise ends: 2026-12-04T18:00+01:00, or 5d.", parser=parse_moment),
]
_ThresholdOption = Annotated[
    list[int] | None, typer.Option(metavar="PERCENT", help="An alert is sent at this percent; repeatable.")
]


@app.command()
def create(
    budget: BudgetArgument,
    *,
    tokens: _TokensOption = None,
    money: _MoneyOption = None,
    every: Annotated[Every, typer.Option(help="How often it begins anew.")],
    zone: Annotated[str, typer.Option(help="IANA time zone by whose midnight it does.", show_default="UTC")] = "",
    on: PlaceOption = "",
    each: Annotated[Each | None, typer.Option(help="Each of these counts for itself.", show_default=False)] = None,
    soft: Annotated[bool, typer.Option("--soft", help="It tells and refuses nothing.")] = False,
    spent_tokens: _TokensOption = None,
    spent_money: _MoneyOption = None,
    threshold: _ThresholdOption = None,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Creates a budget of tokens or of money, and says what it stops where it is below what is spent."""
    unit, amount = _amount(tokens, money, "--tokens or --money")
    has_spent = spent_tokens is not None or spent_money is not None
    spent_unit, spent = _amount(spent_tokens, spent_money, "--spent-...") if has_spent else (unit, 0)
    if spent_unit != unit:
        raise typer.BadParameter("what is spent is said as the amount is: both in tokens, or both in money")
    request = limit_service_pb2.CreateBudgetRequest(
        name=budget,
        place=place_name(on, budget),
        unit=unit,
        amount_units=amount,
        period=_PERIODS[every],
        time_zone=zone,
        member=_MEMBERS[each] if each else limit_config_pb2.LIMIT_MEMBER_SHARED,
        soft=soft,
        initial_spent_units=spent,
        threshold_percents=threshold or (),
        idempotency_key=key_or_new(idempotency_key),
    )
    with control_channel(control) as channel:
        made = _Stub(channel).CreateBudget(request, timeout=TIMEOUT_S)
        _print(channel, made, json=json)
        if not (has_spent or each or json):
            err.print(spent_hint(made.budget.place))


@app.command("list")
def list_budgets(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="acme, or accounts/acme", parser=account_name)],
    *,
    on: PlaceOption = "",
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists an account's budgets."""
    request = limit_service_pb2.ListBudgetsRequest(account=account, place=place_name(on, account))
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListBudgets, request, "budgets")
        print_list(found, lambda: budget_table(found.budgets, _currency(channel, found.budgets)), json=json, csv=csv)


@app.command()
def show(budget: BudgetArgument, *, control: ControlOption = DEFAULT_CONTROL, json: JsonOption = False) -> None:
    """Shows a budget, what is spent of it, and what that stops."""
    request = limit_service_pb2.GetBudgetRequest(name=budget)
    with control_channel(control) as channel:
        _print(channel, _Stub(channel).GetBudget(request, timeout=TIMEOUT_S), json=json)


@app.command()
def update(
    budget: BudgetArgument,
    *,
    tokens: _TokensOption = None,
    money: _MoneyOption = None,
    raise_to_tokens: _TokensOption = None,
    raise_to_money: _MoneyOption = None,
    until: _UntilOption = None,
    end_raise: Annotated[bool, typer.Option("--end-raise", help="End a raise at once.")] = False,
    soft: Annotated[
        bool | None, typer.Option("--soft/--hard", help="Only tell, or refuse from now on.", show_default=False)
    ] = None,
    threshold: _ThresholdOption = None,
    no_thresholds: Annotated[bool, typer.Option("--no-thresholds", help="Send no alerts any more.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Changes a budget; what is left out stays, and no change restarts its count."""
    request = limit_service_pb2.UpdateBudgetRequest(
        name=budget, soft=soft, end_raise=end_raise, idempotency_key=key_or_new(idempotency_key)
    )
    units = set()
    if tokens is not None or money is not None:
        unit, request.amount_units = _amount(tokens, money, "--tokens or --money")
        units.add(unit)
    if raise_to_tokens is not None or raise_to_money is not None:
        unit, amount = _amount(raise_to_tokens, raise_to_money, "--raise-to-tokens or --raise-to-money")
        request.temporary_raise.CopyFrom(budget_pb2.BudgetRaise(amount_units=amount, end_time=until))
        units.add(unit)
    if until is not None and not request.HasField("temporary_raise"):
        raise typer.BadParameter(
            "--until is when a raise ends; say the amount with --raise-to-tokens or --raise-to-money"
        )
    if threshold or no_thresholds:
        request.threshold_percents.CopyFrom(limit_service_pb2.PercentList(percents=threshold or ()))
    with control_channel(control) as channel:
        _require_unit(channel, budget, units)
        _print(channel, _Stub(channel).UpdateBudget(request, timeout=TIMEOUT_S), json=json)


@app.command()
def delete(
    budget: BudgetArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Ends a budget; its name is never used again."""
    request = limit_service_pb2.DeleteBudgetRequest(name=budget, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print(channel, _Stub(channel).DeleteBudget(request, timeout=TIMEOUT_S), json=json)


def _amount(tokens: int | None, money: int | None, options: str) -> tuple[budget_pb2.BudgetUnit.ValueType, int]:
    """The unit and the amount, of which exactly one is given."""
    if (tokens is None) == (money is None):
        raise typer.BadParameter(f"say exactly one of {options}")
    if tokens is not None:
        return budget_pb2.BUDGET_UNIT_TOKENS, tokens
    assert money is not None
    return budget_pb2.BUDGET_UNIT_MONEY, money


def _require_unit(channel: grpc.Channel, budget: str, units: set[budget_pb2.BudgetUnit.ValueType]) -> None:
    """Ends the command where an amount of tokens is given to a budget of money, or the other way round."""
    if not units:
        return
    request = limit_service_pb2.GetBudgetRequest(name=budget)
    if units != {_Stub(channel).GetBudget(request, timeout=TIMEOUT_S).budget.unit}:
        raise typer.BadParameter("the unit of a budget never changes: tokens stay tokens, and money stays money")


def spent_hint(place: str) -> str:
    """What the maker of a budget is told of what was used before, with the command that says how much it is."""
    _, account, *more = place.split("/")
    match more:
        case ["services", service]:
            whose = f"{account}/{service}"
        case ["teams", team]:
            whose = f"{account} --team {team}"
        case ["keys", _]:
            whose = f"{account} --by credential"
        case _:
            whose = account
    return (
        "It counts from now on. What was used before in its period counts in one that is made with --spent-tokens or "
        f"--spent-money; `tallygate usage show {whose} --since MOMENT` says how much that is."
    )


def _print(channel: grpc.Channel, response: Any, *, json: bool) -> None:
    """A budget, and how it stands where the response says so."""
    if json:
        print_json(response)
        return
    budget, currency = response.budget, _currency(channel, [response.budget])
    has_standing = "standing" in response.DESCRIPTOR.fields_by_name
    out.print(budget_facts(budget, response.standing if has_standing else None, currency))


def _currency(channel: grpc.Channel, budgets: Any) -> str:
    """The currency of the account, where a budget of money is shown; empty where it may not be read."""
    of_money = next((one for one in budgets if one.unit == budget_pb2.BUDGET_UNIT_MONEY), None)
    if of_money is None:
        return ""
    request = account_service_pb2.GetAccountRequest(name="/".join(of_money.name.split("/")[:2]))
    try:
        account = account_service_pb2_grpc.AccountServiceStub(channel).GetAccount(request, timeout=TIMEOUT_S).account
    except grpc.RpcError:
        return ""
    return account.currency_code
