"""`tallygate import`: keys, teams and budgets of other gateways, shown first and made with `--apply`."""

from __future__ import annotations

import json as json_module
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Annotated, Any, Final

import grpc
import typer

from tallygate.cli.console import err, out
from tallygate.cli.import_steps import Made, make
from tallygate.cli.names import account_name
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import DEFAULT_CONTROL, TIMEOUT_S, ControlOption, control_channel, fail
from tallygate.cli.show_import import plan_tables
from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
)
from tallygate.importing import litellm as from_litellm
from tallygate.importing import new_api as from_new_api
from tallygate.importing.plan import Plan, Target
from tallygate.importing.tables import Tables, UnreadableTablesError, read_tables
from tallygate.importing.values import UnreadableValueError

app = typer.Typer(
    help="Brings keys, teams and budgets along from another gateway; shows them first.", no_args_is_help=True
)

_DOLLARS: Final = "USD"

_SHARE_HINT: Final = (
    "Keys of a team open services of that team and shared ones: share each that all may use by "
    "`tallygate service update ACCOUNT/default-MODEL --shared`."
)

AccountArgument = Annotated[
    str, typer.Argument(metavar="ACCOUNT", help="The account that all of it goes to: acme", parser=account_name)
]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="postgresql://..., a file of SQLite's, or a folder with exports of its tables, TABLE.csv or TABLE.json.",
    ),
]
ApplyOption = Annotated[bool, typer.Option("--apply", help="Make it; without this, it is only shown.")]
SpentOption = Annotated[bool, typer.Option("--count-spent", help="What was spent there counts as spent here.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class _Gateway:
    needed: str
    others: Sequence[str]
    plan: Callable[[Tables, Target, int], Plan]


_LITELLM: Final = _Gateway(from_litellm.KEYS, from_litellm.OTHERS, from_litellm.plan_litellm)
_NEW_API: Final = _Gateway(from_new_api.KEYS, from_new_api.OTHERS, from_new_api.plan_new_api)


@app.command("litellm")
def import_litellm(
    account: AccountArgument,
    source: SourceArgument,
    *,
    apply: ApplyOption = False,
    count_spent: SpentOption = False,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
) -> None:
    """Teams, virtual keys and their budgets out of LiteLLM's database; its users keep their keys."""
    _bring_along(_LITELLM, account, source, apply=apply, counts_spent=count_spent, control=control, json=json)


@app.command("new-api")
def import_new_api(
    account: AccountArgument,
    source: SourceArgument,
    *,
    apply: ApplyOption = False,
    count_spent: SpentOption = False,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
) -> None:
    """Tokens and quotas out of New API's database, a team for each of its users; users keep their keys."""
    _bring_along(_NEW_API, account, source, apply=apply, counts_spent=count_spent, control=control, json=json)


def _bring_along(
    gateway: _Gateway, account: str, source: str, *, apply: bool, counts_spent: bool, control: str, json: bool
) -> None:
    try:
        tables = read_tables(source, gateway.needed, gateway.others)
    except UnreadableTablesError as error:
        fail(str(error))
    with control_channel(control) as channel:
        try:
            plan = gateway.plan(tables, _target(channel, account, counts_spent=counts_spent), int(time.time()))
        except UnreadableValueError as error:
            fail(f"What {source} has cannot be read: {error}")
        made = make(channel, account, plan) if apply else None
    if json:
        print(json_module.dumps(_as_json(plan, made), default=_plain))
        return
    for table in plan_tables(plan):
        out.print(table)
    err.print(_summary(plan, made))
    if any(key.team for key in plan.keys):
        err.print(_SHARE_HINT)


def _target(channel: grpc.Channel, account: str, *, counts_spent: bool) -> Target:
    request = account_service_pb2.GetAccountRequest(name=account)
    found = account_service_pb2_grpc.AccountServiceStub(channel).GetAccount(request, timeout=TIMEOUT_S).account
    catalogue = all_pages(
        catalog_service_pb2_grpc.CatalogServiceStub(channel).ListModels,
        catalog_service_pb2.ListModelsRequest(),
        "models",
    )
    models = {
        name: model.name.removeprefix("models/")
        for model in catalogue.models
        for name in (*model.aliases, model.name.removeprefix("models/"))
    }
    return Target(models, found.currency_code == _DOLLARS, counts_spent)


def _summary(plan: Plan, made: Made | None) -> str:
    if made is None:
        counts = f"{len(plan.teams):,} teams, {len(plan.keys):,} keys, {len(plan.budgets):,} budgets"
        return (
            f"This would bring along {counts} and {len(plan.rules):,} rules, as far as they are not there already. "
            "Nothing was made: say --apply."
        )
    return f"{made.new:,} were made, and {made.there:,} were there already, which stay as they are."


def _as_json(plan: Plan, made: Made | None) -> dict[str, Any]:
    shown = asdict(plan)
    for key in shown["keys"]:
        # The hash of a secret is of no use to who reads this, and of some to who guesses secrets.
        del key["secret_sha256"]
    return {**shown, "made": made.new if made else 0, "there_already": made.there if made else 0, "applied": bool(made)}


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else str(value)
