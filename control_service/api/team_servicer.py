"""TeamService."""

from typing_extensions import override

from control_service.api.calls import Calls, Context, Incoming
from control_service.api.fields import Fields
from control_service.api.paging import decode_page
from control_service.domain.team import Team
from control_service.usecases.people.teams import NewTeam, create_team, delete_team, get_team, update_team
from control_service.usecases.ports import Database, TeamFilter
from tallygate._access.permission import Permission
from tallygate._server.grpc.caller import current_caller
from tallygate._server.grpc.paging import encode_page
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import team_pb2, team_service_pb2_grpc
from tallygate.control.v1 import team_service_pb2 as pb


class TeamServicer(team_service_pb2_grpc.TeamServiceServicer):
    """Teams of accounts."""

    def __init__(self, database: Database, calls: Calls) -> None:
        self._database = database
        self._calls = calls

    @override
    async def CreateTeam(self, request: pb.CreateTeamRequest, context: Context) -> pb.CreateTeamResponse:
        with Fields() as fields:
            account_id, team_id = fields.team("name", request.name)
            new = NewTeam(team_id, fields.text("display_name", request.display_name))
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: create_team(tx, account, new, act),
            lambda team: pb.CreateTeamResponse(team=_encode(team)),
        )
        return pb.CreateTeamResponse.FromString(response)

    @override
    async def GetTeam(self, request: pb.GetTeamRequest, context: Context) -> pb.GetTeamResponse:
        with Fields() as fields:
            account_id, team_id = fields.team("name", request.name)
        async with self._database.reading() as tx:
            team = await get_team(tx, account_id, team_id)
        return pb.GetTeamResponse(team=_encode(team))

    @override
    async def ListTeams(self, request: pb.ListTeamsRequest, context: Context) -> pb.ListTeamsResponse:
        with Fields() as fields:
            account_id = fields.account("account", request.account)
            (after,), limit = decode_page(fields, request, ("",))
        seen = current_caller().rights.sight(Permission.TEAMS_READ).teams_of(account_id)
        async with self._database.reading() as tx:
            await tx.accounts.get(account_id)
            teams = await tx.teams.page(TeamFilter(account_id, request.show_deleted, seen), after, limit + 1)
        page, token = encode_page(request, teams, limit, _encode, lambda team: (team.team_id,))
        return pb.ListTeamsResponse(teams=page, next_page_token=token)

    @override
    async def UpdateTeam(self, request: pb.UpdateTeamRequest, context: Context) -> pb.UpdateTeamResponse:
        with Fields() as fields:
            account_id, team_id = fields.team("name", request.name)
            given = fields.text("display_name", request.display_name)
        display_name = given if request.HasField("display_name") else None
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, _: update_team(tx, account, team_id, display_name),
            lambda team: pb.UpdateTeamResponse(team=_encode(team)),
        )
        return pb.UpdateTeamResponse.FromString(response)

    @override
    async def DeleteTeam(self, request: pb.DeleteTeamRequest, context: Context) -> pb.DeleteTeamResponse:
        with Fields() as fields:
            account_id, team_id = fields.team("name", request.name)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: delete_team(tx, account, team_id, act),
            lambda team: pb.DeleteTeamResponse(team=_encode(team)),
        )
        return pb.DeleteTeamResponse.FromString(response)


def _encode(team: Team) -> team_pb2.Team:
    return team_pb2.Team(
        name=team.name,
        display_name=team.display_name,
        create_time=encode_timestamp(team.create_us),
        delete_time=encode_timestamp(team.delete_us),
    )
