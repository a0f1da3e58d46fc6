"""UsageService of a node that asks for proof: a team's members get what their team used, and learn of nothing else."""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.api.errors import translate
from metering_service.api.usage_servicer import UsageServicer
from metering_service.domain.counts import Counts
from metering_service.domain.records import CommitBatch
from metering_service.domain.report import Phase
from metering_service.storage import SqlRecorder, SqlUsageReader
from tallygate._access.rights import Right
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tallygate._server.grpc.gate import Gate
from tallygate._server.grpc.server import GrpcServer
from tallygate.metering.v1 import usage_service_pb2, usage_service_pb2_grpc
from tallygate.metering.v1.decision_pb2 import DecisionReason
from tallygate.metering.v1.usage_service_pb2 import (
    ExplainRequestRequest,
    GetRequestUsageRequest,
    ListRequestUsageRequest,
    ListRequestUsageResponse,
    QueryUsageRequest,
    QueryUsageResponse,
)
from tests.harness.metering.keys import sha256
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.records import NODE
from tests.harness.metering.services import stopped, with_money
from tests.harness.wire.known_callers import KnownCallers, presenting

NAME = usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"].full_name
AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
ACME, CHAT, BATCH = "accounts/acme", "accounts/acme/services/chat", "accounts/acme/services/batch"
CALLERS = {
    "olga": (Right(Role.OPERATOR, PLATFORM),),
    "vera": (Right(Role.VIEWER, Scope("acme")),),
    "rita": (Right(Role.TEAM_MEMBER, Scope("acme", "red")),),
    "bert": (Right(Role.TEAM_ADMIN, Scope("acme", "blue")),),
    "both": (Right(Role.TEAM_MEMBER, Scope("acme", "red")), Right(Role.TEAM_MEMBER, Scope("acme", "blue"))),
    "gina": (Right(Role.TEAM_MEMBER, Scope("acme", "green")),),
    "otto": (Right(Role.TEAM_MEMBER, Scope("other", "red")),),
    "meta": (Right(Role.METER, Scope("acme")),),
}


@dataclass(frozen=True)
class Serving:
    """A served UsageService, and what its node knows."""

    stub: "usage_service_pb2_grpc.UsageServiceAsyncStub"
    fresh_us: int

    async def query(self, who: str, *services: str, **fields: object) -> QueryUsageResponse:
        """All of the time that there is."""
        values: dict[str, object] = {
            "start_time": Timestamp(),
            "end_time": Timestamp(seconds=4_000_000_000),
            "services": services or (ACME,),
            **fields,
        }
        request = QueryUsageRequest(**values)  # type: ignore[arg-type]
        return await self.stub.QueryUsage(request, metadata=presenting(who))

    async def outputs(self, who: str, *services: str, **fields: object) -> dict[tuple[str, ...], int]:
        """Output tokens by group."""
        answer = await self.query(who, *services, **fields)
        return {
            tuple(value for _, value in sorted(one.group.items())): one.usage.output_tokens for one in answer.buckets
        }

    async def teams_of(self, who: str, request_id: str, service: str = CHAT) -> list[str]:
        """The teams of a request's parts."""
        request = GetRequestUsageRequest(service=service, request_id=request_id)
        return [part.team for part in (await self.stub.GetRequestUsage(request, metadata=presenting(who))).parts]

    async def page(self, who: str, token: str = "", service: str = CHAT, size: int = 2) -> ListRequestUsageResponse:
        request = ListRequestUsageRequest(service=service, page_size=size, page_token=token)
        return await self.stub.ListRequestUsage(request, metadata=presenting(who))

    async def listed(self, who: str, service: str = CHAT) -> list[list[str]]:
        """Ids of all pages of two."""
        pages, token = list[list[str]](), ""
        while True:
            page = await self.page(who, token, service)
            pages.append([record.request_id for record in page.request_usages])
            token = page.next_page_token
            if not token:
                return pages


def used() -> Fleet:
    """The service was the red team's, then the blue one's; another one is the blue team's, and a third is nobody's.

    Of each there is something that ended, something that runs, and something that was denied.
    """
    fleet = Fleet()
    config, client = with_money(fleet, 1_000_000, team="red"), Client(fleet["a"])
    for shown in ("key of r", "key of b", "key of n", "of blue"):
        fleet.control.put_key(shown, uid=shown)
    for name, team in (("batch", "blue"), ("free", "")):
        fleet.control.put(replace(config, name=f"{ACME}/services/{name}", uid=f"uid-{name}", team=team))
    _use(client, "r", CHAT, ended=5, output=1)
    _use(client, "b", BATCH, ended=1, output=100)
    _use(client, "n", f"{ACME}/services/free", ended=1, output=1_000)
    moved = fleet.control.put(replace(config, team="blue"))
    fleet.run(ms=200)
    _use(client, "b", CHAT, ended=3, output=10)
    fleet.run(ms=200)
    fleet.control.put(stopped(moved))
    fleet["a"].hear_control()
    client.say(report(AUTHORIZE, "late", service=CHAT, key_sha256=sha256("of blue")))
    fleet.run(ms=200)
    return fleet


def _use(client: Client, team: str, service: str, *, ended: int, output: int) -> None:
    """So many requests end, and one goes on; one more is denied."""
    more: dict[str, Any] = {"service": service, "key_sha256": sha256(f"key of {team}"), "labels": (("whose", team),)}
    for number in range(ended):
        client.say(report(AUTHORIZE, f"{team}{number}", **more))
        client.say(report(FINISH, f"{team}{number}", Counts(output=output), **more))
    client.say(report(AUTHORIZE, f"{team}0", **more))
    client.say(report(AUTHORIZE, f"{team}-runs", **more))
    client.say(report(PROGRESS, f"{team}-runs", Counts(output=2 * output), **more))


@pytest.fixture
async def it(metering_database: AsyncEngine) -> AsyncIterator[Serving]:
    """The service of a node that asks for proof, over what its real rules have written."""
    fleet, recorder = used(), SqlRecorder(metering_database, lambda: "id")
    rig, memory = fleet["a"], fleet.database
    written = CommitBatch(
        1,
        tuple(memory.requests.values()),
        aggregates=tuple(memory.aggregates.items()),
        denials=tuple(memory.denials.items()),
    )
    await recorder.commit(NODE, await recorder.register_node(NODE), written)
    servicer = UsageServicer(
        SqlUsageReader(metering_database), rig.node.running, rig.buffer.fresh_through_us, rig.node.denial_log
    )
    server = GrpcServer(
        listen="127.0.0.1:0",
        insecure=False,
        service_names=[NAME],
        add_servicers=lambda it: usage_service_pb2_grpc.add_UsageServiceServicer_to_server(servicer, it),
        translate=translate,
        gate=Gate(KnownCallers(CALLERS)),
        page_keys=rig.keys.page_keys,
    )
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield Serving(usage_service_pb2_grpc.UsageServiceStub(channel), rig.buffer.fresh_through_us())
    await server.stop(0)
    await recorder.close()


async def failure(call: Awaitable[object]) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = ErrorInfo()
    assert rpc_status.from_call(caught.value).details[0].Unpack(info)
    return caught.value.code(), caught.value.details() or "", dict(info.metadata)


async def test_sums_are_of_the_teams_that_a_caller_is_in(it: Serving) -> None:
    """Whole accounts for those who may read them; a service that moved is split at the moment when it did."""
    assert await it.outputs("vera") == await it.outputs("olga") == {(): 1_135}
    assert await it.outputs("rita") == {(): 5}
    assert await it.outputs("bert") == {(): 130}
    assert await it.outputs("both") == {(): 135}
    assert await it.outputs("rita", CHAT) == await it.outputs("rita", CHAT, BATCH) == {(): 5}
    assert await it.outputs("bert", CHAT) == {(): 30}
    assert await it.outputs("rita", BATCH) == {}


@pytest.mark.parametrize(("group", "of_red"), [("service", CHAT), ("service_uid", "uid-chat"), ("team", "red")])
async def test_no_group_names_what_others_used(it: Serving, group: str, of_red: str) -> None:
    """Neither services, nor teams, credentials or labels."""
    assert await it.outputs("rita", group_by=[group]) == {(of_red,): 5}
    assert await it.outputs("rita", group_by=["credential"]) == {("key of r",): 5}
    assert await it.outputs("rita", group_by=["label:whose"]) == {("",): 0, ("r",): 5}
    assert await it.outputs("rita", credential="key of b") == {}
    assert await it.outputs("rita", labels={"whose": "b"}) == {}


async def test_denials_are_of_the_teams_too(it: Serving) -> None:
    """As of when they were denied."""

    async def denied(who: str) -> dict[str, int]:
        (bucket,) = (await it.query(who, CHAT)).buckets
        return dict(bucket.denial_counts)

    assert await denied("rita") == {"REQUEST_ID_REUSED": 1}
    assert await denied("bert") == {"REQUEST_ID_REUSED": 1, "POSTPAID_DISABLED": 1}
    assert await denied("vera") == {"REQUEST_ID_REUSED": 2, "POSTPAID_DISABLED": 1}


async def test_what_runs_is_of_the_teams_too(it: Serving) -> None:
    """Requests that began before the service moved are the old team's."""

    async def runs(who: str, *services: str, **fields: object) -> tuple[int, int]:
        running = (await it.query(who, *services, **fields)).running
        return running.request_count, running.usage.output_tokens

    assert await runs("vera") == (4, 2 + 20 + 200 + 2_000)
    assert await runs("rita") == await runs("vera", teams=["red"]) == (1, 2)
    assert await runs("bert") == (2, 220)
    assert await runs("bert", CHAT) == (1, 20)
    assert await runs("gina") == (0, 0)


async def test_teams_can_be_asked_for(it: Serving) -> None:
    """Those that a caller does not see are as those that there are not; empty stands for no team."""
    assert await it.outputs("vera", teams=["red"]) == await it.outputs("both", teams=["red"]) == {(): 5}
    assert await it.outputs("vera", teams=["", "red"]) == {(): 1_005}
    assert await it.outputs("vera", group_by=["team"]) == {("",): 1_000, ("blue",): 130, ("red",): 5}
    assert await it.outputs("rita", teams=["", "blue"]) == await it.outputs("rita", teams=["no-such"]) == {}
    assert await it.outputs("rita", teams=["blue", "red"]) == {(): 5}


async def test_a_record_of_another_team_is_not_there(it: Serving) -> None:
    """With the same words as one that there is not."""
    assert await it.teams_of("rita", "r0") == await it.teams_of("vera", "r0") == ["red"]
    assert await it.teams_of("rita", "r-runs") == ["red"]
    code, words, told = await failure(it.teams_of("bert", "r0"))
    assert (code, told) == (grpc.StatusCode.NOT_FOUND, {"resource": f"{CHAT}/requests/r0"})
    _, unknown, _ = await failure(it.teams_of("bert", "r9"))
    assert words.replace("r0", "r9") == unknown


async def test_what_became_of_a_request_is_of_the_teams_too(it: Serving) -> None:
    """Records and denials of other teams are not there; nobody sees another account's."""

    async def explained(who: str, request_id: str, account: str = ACME) -> tuple[list[str], list[tuple[str, str]]]:
        request = ExplainRequestRequest(account=account, request_id=request_id)
        answer = await it.stub.ExplainRequest(request, metadata=presenting(who))
        denials = [
            (it.team, DecisionReason.Name(it.decision.reason).removeprefix("DECISION_REASON_")) for it in answer.denials
        ]
        return [part.team for part in answer.parts], denials

    reused = ("red", "REQUEST_ID_REUSED")
    assert await explained("rita", "r0") == await explained("vera", "r0") == (["red"], [reused])
    assert await explained("bert", "r0") == await explained("vera", "r9") == ([], [])
    code, _, _ = await failure(explained("vera", "r0", "accounts/acme-2"))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_pages_are_full_of_what_a_caller_sees(it: Serving) -> None:
    """Records of others take no room in them, and no token names one."""
    assert await it.listed("rita") == [["r-runs", "r0"], ["r1", "r2"], ["r3", "r4"]]
    assert await it.listed("bert") == [["b-runs", "b0"], ["b1", "b2"]]
    assert len(await it.listed("vera")) == 5
    assert await it.listed("rita", BATCH) == await it.listed("rita", f"{ACME}/services/no-such") == [[]]


async def test_a_page_token_is_good_for_the_caller_who_got_it(it: Serving) -> None:
    """And for nobody else, whatever that one sees."""
    token = (await it.page("rita")).next_page_token
    assert (await it.page("rita", token)).request_usages[0].request_id == "r1"
    for other in ("both", "vera"):
        assert (await failure(it.page(other, token)))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_of_a_team_that_used_nothing_there_is_nothing(it: Serving) -> None:
    """Its members hear what they would hear of an account without any usage; how fresh that is, is no secret."""
    answer = await it.query("gina", group_by=["service", "team"])
    assert (len(answer.buckets), answer.running.request_count) == (0, 0)
    assert answer.fresh_through_time.ToMicroseconds() == it.fresh_us
    assert await it.listed("gina") == [[]]
    assert (await failure(it.teams_of("gina", "b0")))[0] is grpc.StatusCode.NOT_FOUND


async def test_an_account_in_which_a_caller_is_nobody_is_not_there(it: Serving) -> None:
    """Nor is anything in it; with a role that does not read usage the call is denied."""
    assert (await failure(it.query("otto")))[0] is grpc.StatusCode.NOT_FOUND
    assert (await failure(it.query("rita", CHAT, "accounts/other")))[0] is grpc.StatusCode.NOT_FOUND
    assert (await failure(it.page("otto")))[0] is grpc.StatusCode.NOT_FOUND
    assert (await failure(it.query("meta")))[0] is grpc.StatusCode.PERMISSION_DENIED
    assert (await failure(it.teams_of("nobody", "r0")))[0] is grpc.StatusCode.UNAUTHENTICATED
