"""`tallygate team`: teams of an account. Who is in one is said by `tallygate member`."""

from __future__ import annotations

from typing import Annotated

import typer

from tallygate.cli.console import out, print_json, print_list
from tallygate.cli.names import account_name, team_name
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
from tallygate.cli.show_access import team_table
from tallygate.control.v1 import team_pb2, team_service_pb2, team_service_pb2_grpc

app = typer.Typer(help="Teams of an account; services belong to them.", no_args_is_help=True)

TeamArgument = Annotated[
    str, typer.Argument(metavar="TEAM", help="acme/search, or accounts/acme/teams/search", parser=team_name)
]
_Stub = team_service_pb2_grpc.TeamServiceStub


@app.command()
def create(
    team: TeamArgument,
    *,
    display_name: Annotated[str, typer.Option(help="A name for people.")] = "",
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Creates a team without members."""
    request = team_service_pb2.CreateTeamRequest(
        name=team, display_name=display_name, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        _print(_Stub(channel).CreateTeam(request, timeout=TIMEOUT_S).team, json=json)


@app.command("list")
def list_teams(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="acme, or accounts/acme", parser=account_name)],
    *,
    show_deleted: Annotated[bool, typer.Option("--show-deleted", help="Deleted ones, too.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists an account's teams."""
    request = team_service_pb2.ListTeamsRequest(account=account, show_deleted=show_deleted)
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListTeams, request, "teams")
        print_list(found, lambda: team_table(found.teams), json=json, csv=csv)


@app.command()
def show(team: TeamArgument, *, control: ControlOption = DEFAULT_CONTROL, json: JsonOption = False) -> None:
    """Shows a team."""
    with control_channel(control) as channel:
        _print(_Stub(channel).GetTeam(team_service_pb2.GetTeamRequest(name=team), timeout=TIMEOUT_S).team, json=json)


@app.command()
def rename(
    team: TeamArgument,
    display_name: Annotated[str, typer.Argument(metavar="NAME", help="A name for people.")],
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Changes a team's name for people."""
    request = team_service_pb2.UpdateTeamRequest(
        name=team, display_name=display_name, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        _print(_Stub(channel).UpdateTeam(request, timeout=TIMEOUT_S).team, json=json)


@app.command()
def delete(
    team: TeamArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Deletes a team that nothing is in any more; its name is never used again."""
    request = team_service_pb2.DeleteTeamRequest(name=team, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print(_Stub(channel).DeleteTeam(request, timeout=TIMEOUT_S).team, json=json)


def _print(team: team_pb2.Team, *, json: bool) -> None:
    print_json(team) if json else out.print(team_table([team]))
