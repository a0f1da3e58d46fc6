"""Usage on running programs that ask for proof: who is in a team gets what the team used, before and after a move."""

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tallygate._channel import open_aio_channel
from tallygate._wire.failures import decode_failure
from tallygate.control.v1 import (
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
    team_service_pb2,
    team_service_pb2_grpc,
)
from tallygate.metering.v1 import (
    decision_pb2,
    metering_service_pb2,
    metering_service_pb2_grpc,
    report_pb2,
    token_usage_pb2,
    usage_service_pb2,
    usage_service_pb2_grpc,
)
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.guarded import GuardedFleet, guarded_fleet
from tests.harness.programs.one_service import enable_at
from tests.harness.programs.requests import answered, decided

SERVICE = "accounts/acme/services/chat"
INPUT_TOKENS = 100
Metadata = tuple[tuple[str, str], ...]


async def put_into(fleet: GuardedFleet, team_id: str, *, is_new: bool = False) -> None:
    """The service belongs to this team from now on."""
    async with open_aio_channel(fleet.control.address, fleet.operator) as channel:
        team = team_service_pb2.CreateTeamRequest(name=f"accounts/acme/teams/{team_id}")
        await team_service_pb2_grpc.TeamServiceStub(channel).CreateTeam(team)
        lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        if is_new:
            billing = lifecycle_service_pb2.InitialBilling(enable_postpaid=True)
            await lifecycle.CreateInferenceService(
                lifecycle_service_pb2.CreateInferenceServiceRequest(
                    name=SERVICE, model="models/llama", team=team_id, billing=billing
                )
            )
        else:
            await lifecycle.UpdateInferenceService(
                lifecycle_service_pb2.UpdateInferenceServiceRequest(name=SERVICE, team=team_id)
            )


class Caller:
    """Somebody with a token, at a node."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._metering = metering_service_pb2_grpc.MeteringServiceStub(channel)
        self._usage = usage_service_pb2_grpc.UsageServiceStub(channel)
        self._metadata: Metadata = (("authorization", f"Bearer {token}"),)

    async def use(self, request_id: str) -> None:
        """A request that is authorised, as soon as the node allows it, and ends."""
        usage = token_usage_pb2.TokenUsage(input_tokens=INPUT_TOKENS)
        report = report_pb2.TokenReport(
            request_id=request_id, service=SERVICE, phase=report_pb2.REPORT_PHASE_AUTHORIZE, usage=usage
        )

        async def ask() -> decision_pb2.Decision:
            authorize = metering_service_pb2.AuthorizeRequest(report=report)
            decision: decision_pb2.Decision = (
                await self._metering.Authorize(authorize, metadata=self._metadata)
            ).decision
            return decision

        decision = await decided(ask)
        assert decision.verdict == decision_pb2.VERDICT_ALLOW, decision
        report.phase = report_pb2.REPORT_PHASE_FINISH
        await self._call(self._metering.Report, metering_service_pb2.ReportRequest(report=report))

    async def teams_of(self, request_id: str) -> list[str]:
        request = usage_service_pb2.GetRequestUsageRequest(service=SERVICE, request_id=request_id)
        return [part.team for part in (await self._call(self._usage.GetRequestUsage, request)).parts]

    async def input_tokens(self) -> dict[str, int]:
        """What was used in the whole account, by team."""
        now_s = int(time.time())
        request = usage_service_pb2.QueryUsageRequest(
            start_time=Timestamp(seconds=now_s - 86_400),
            end_time=Timestamp(seconds=now_s + 86_400),
            services=["accounts/acme"],
            group_by=["team"],
        )
        answer = await self._call(self._usage.QueryUsage, request)
        return {bucket.group["team"]: bucket.usage.input_tokens for bucket in answer.buckets}

    async def listed(self) -> list[str]:
        request, found = usage_service_pb2.ListRequestUsageRequest(service=SERVICE, page_size=1_000), list[str]()
        while True:
            page = await self._call(self._usage.ListRequestUsage, request)
            found += [record.request_id for record in page.request_usages]
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    async def _call(self, method: Any, request: Message) -> Any:
        """An answer, also where the node has to ask control first who is calling, and control takes its time."""
        return await answered(lambda: method(request, metadata=self._metadata))


async def _caller(fleet: GuardedFleet, channel: grpc.aio.Channel, role: Role, team_id: str = "") -> Caller:
    return Caller(channel, (await fleet.token(Scope("acme", team_id), role)).text)


async def _used_until_it_is_blue(server: Caller, reader: Caller) -> list[str]:
    """Use it until the node has heard that it has moved; ids of what the red team used."""
    of_red: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            request_id = f"r{len(of_red)}"
            await server.use(request_id)
            if await reader.teams_of(request_id) == ["blue"]:
                return of_red
            assert await reader.teams_of(request_id) == ["red"]
            of_red.append(request_id)


async def test_members_see_what_their_team_used(tmp_path: Path) -> None:
    """The service is red's, then blue's; a third team and a stranger see nothing."""
    async with guarded_fleet(tmp_path) as fleet:
        await enable_at(fleet.control.address, fleet.operator)
        await put_into(fleet, "red", is_new=True)
        node = await fleet.start_node("node-a")
        async with grpc.aio.insecure_channel(node.address) as channel:
            server, viewer = await _caller(fleet, channel, Role.METER), await _caller(fleet, channel, Role.VIEWER)
            await server.use("first")
            assert await viewer.teams_of("first") == ["red"]
            await put_into(fleet, "blue")
            of_red = ["first", *await _used_until_it_is_blue(server, viewer)]
            last = f"r{len(of_red) - 1}"
            red, blue = INPUT_TOKENS * len(of_red), INPUT_TOKENS
            seen = {
                team_id: await _caller(fleet, channel, Role.TEAM_MEMBER, team_id)
                for team_id in ("red", "blue", "green")
            }
            assert await viewer.input_tokens() == {"red": red, "blue": blue}
            assert await seen["red"].input_tokens() == {"red": red}
            assert await seen["blue"].input_tokens() == {"blue": blue}
            assert (await seen["green"].input_tokens(), await seen["green"].listed()) == ({}, [])
            assert sorted(await seen["red"].listed()) == sorted(of_red)
            assert await seen["blue"].listed() == [last]
            with pytest.raises(grpc.aio.AioRpcError) as hidden:
                await seen["blue"].teams_of("first")
            assert decode_failure(hidden.value).reason == "RESOURCE_NOT_FOUND"
            with pytest.raises(grpc.aio.AioRpcError) as denied:
                await server.input_tokens()
            assert decode_failure(denied.value).reason == "PERMISSION_DENIED"
