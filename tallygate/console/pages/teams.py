"""Teams of an account: services, keys and roles belong to them."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console.nav import Entry
from tallygate.console.press import DANGER, Press
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import team_service_pb2 as pb
from tallygate.control.v1.team_service_pb2_grpc import TeamServiceStub

PAGE_SIZE: Final = 50
"""Maximum number of teams on a page."""
_LIST: Final = "/accounts/{account}/teams"
_TEAM: Final = "/accounts/{account}/teams/{team}"


async def show_teams(visit: Visit) -> Response:
    """A page of teams, by name."""
    request = pb.ListTeamsRequest(account=visit.account, page_size=PAGE_SIZE, page_token=visit.query("page"))
    answer = await TeamServiceStub(visit.control).ListTeams(request)
    return visit.page(
        "teams.html",
        teams=answer.teams,
        next_page=answer.next_page_token,
        may_manage=visit.may(Permission.TEAMS_MANAGE),
    )


async def show_create(visit: Visit) -> Response:
    """The form of a new team."""
    return visit.page("create_team.html")


async def create(visit: Visit) -> Response:
    """Create it, without members."""
    request = pb.CreateTeamRequest(
        name=f"{visit.account}/teams/{visit.form.text('name')}",
        display_name=visit.form.text("display_name"),
        idempotency_key=visit.idempotency_key,
    )
    await TeamServiceStub(visit.control).CreateTeam(request)
    return visit.done("The team is created.", f"/{visit.account}/teams")


async def show_rename(visit: Visit) -> Response:
    """The form of its name for people."""
    team = (await TeamServiceStub(visit.control).GetTeam(pb.GetTeamRequest(name=_name(visit)))).team
    return visit.page("rename_team.html", team=team)


async def rename(visit: Visit) -> Response:
    """Change its name for people."""
    request = pb.UpdateTeamRequest(
        name=_name(visit), display_name=visit.form.text("display_name"), idempotency_key=visit.idempotency_key
    )
    await TeamServiceStub(visit.control).UpdateTeam(request)
    return visit.done("The team is changed.", f"/{visit.account}/teams")


def _name(visit: Visit) -> str:
    return f"{visit.account}/teams/{visit.request.path_params['team']}"


_DELETE: Final = Press(
    path=f"{_TEAM}/delete",
    name="accounts/{account}/teams/{team}",
    title="Delete the team {team}",
    says=(
        "The roles on it are gone with it. One that has services, keys or limits stays.",
        "Its name is never used again.",
    ),
    button="Delete the team",
    done="The team is deleted.",
    back=_LIST,
    stub=TeamServiceStub,
    request=pb.DeleteTeamRequest,
    kind=DANGER,
)

NAV: Final = (Entry("Teams", _LIST, Permission.TEAMS_READ),)
ROUTES: Final = (
    at(_LIST, show_teams),
    at("/accounts/{account}/create-team", show_create, create),
    at(f"{_TEAM}/rename", show_rename, rename),
    _DELETE.route,
)
