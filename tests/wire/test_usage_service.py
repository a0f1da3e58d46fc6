"""UsageService on a real server over a real database: what a caller of each RPC gets to see."""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.api.errors import translate
from metering_service.api.usage_servicer import UsageServicer
from metering_service.domain.api_key import KeyProblem
from metering_service.domain.counts import Counts
from metering_service.domain.cut import Cut
from metering_service.domain.decision import Reason, deny
from metering_service.domain.denial_log import Denial, DenialLog
from metering_service.domain.usage_scope import UsageScope
from metering_service.storage import SqlRecorder, SqlUsageReader
from metering_service.usecases.ports import Running
from tallygate._server.grpc.server import GrpcServer
from tallygate.metering.v1 import request_usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from tallygate.metering.v1.decision_pb2 import DECISION_REASON_BUDGET_EXCEEDED, DECISION_REASON_TRIAL_INSUFFICIENT
from tallygate.metering.v1.usage_service_pb2 import (
    ExplainRequestRequest,
    GetRequestUsageRequest,
    ListRequestUsageRequest,
    QueryUsageRequest,
)
from tests.harness.metering.records import (
    NODE,
    NOON_US,
    SERVICE,
    batch,
    denial,
    open_request,
    settled_request,
    usage,
)
from tests.harness.wire.grpcurl import grpcurl

NAME = usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"].full_name
ACCOUNT = "accounts/acme"
NOON_S = NOON_US // 1_000_000
FRESH_US = NOON_US + 3_600_000_000


@dataclass(frozen=True)
class Serving:
    """A served UsageService: how to call it, how to fill its database, what its node was asked to say runs."""

    stub: "usage_service_pb2_grpc.UsageServiceAsyncStub"
    address: str
    recorder: SqlRecorder
    asked: list[tuple[str, ...]]
    denial_log: DenialLog

    async def write(self, *parts: object) -> None:
        """One commit."""
        await self.recorder.commit(NODE, await self.recorder.register_node(NODE), batch(1, *parts))


@pytest.fixture
async def it(metering_database: AsyncEngine) -> AsyncIterator[Serving]:
    """The service over an empty database, two requests running."""
    asked: list[tuple[str, ...]] = []

    def running(services: tuple[str, ...], _scope: UsageScope) -> Running:
        asked.append(services)
        return Running(2, Counts(input=5, output=6))

    denial_log = DenialLog(NOON_US)
    servicer = UsageServicer(SqlUsageReader(metering_database), running, lambda: FRESH_US, denial_log)
    server = GrpcServer(
        listen="127.0.0.1:0",
        insecure=False,
        service_names=[NAME],
        add_servicers=lambda grpc_server: usage_service_pb2_grpc.add_UsageServiceServicer_to_server(
            servicer, grpc_server
        ),
        translate=translate,
    )
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = usage_service_pb2_grpc.UsageServiceStub(channel)
        yield Serving(stub, address, SqlRecorder(metering_database, lambda: "id"), asked, denial_log)
    await server.stop(0)


def query(start_s: int = 0, end_s: int = 3_600, **fields: object) -> QueryUsageRequest:
    """A query of the service; times in seconds after noon."""
    values: dict[str, object] = {
        "start_time": Timestamp(seconds=NOON_S + start_s),
        "end_time": Timestamp(seconds=NOON_S + end_s),
        "services": [SERVICE],
        **fields,
    }
    return QueryUsageRequest(**values)  # type: ignore[arg-type]


async def violations_of(call: Awaitable[object]) -> list[str]:
    """The fields that a refused call got wrong."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    info, bad_request = ErrorInfo(), BadRequest()
    first, second = rpc_status.from_call(caught.value).details
    assert first.Unpack(info)
    assert second.Unpack(bad_request)
    assert info.reason == "INVALID_REQUEST"
    return [violation.field for violation in bad_request.field_violations]


async def test_usage_comes_in_buckets(it: Serving) -> None:
    """Steps, groups, sums, denials, what runs, and how fresh it is."""
    await it.write(usage(0, 1, labels=(("team", "ads"),)), usage(7, 2), denial(7, 3))
    answer = await it.stub.QueryUsage(query(step=Duration(seconds=300), group_by=["label:team", "service"]))
    first, second = answer.buckets
    assert (first.start_time.seconds - NOON_S, first.end_time.seconds - NOON_S) == (0, 300)
    assert (dict(first.group), dict(second.group)) == (
        {"label:team": "ads", "service": SERVICE},
        {"label:team": "", "service": SERVICE},
    )
    assert (second.usage.input_tokens, second.usage.output_tokens) == (4, 2)
    assert (second.payers.trial_tokens, second.payers.billed_tokens) == (2, 4)
    assert (second.cost_nanos, second.request_count, dict(second.denial_counts)) == (
        2_000,
        1,
        {"BUDGET_CONTENDED": 3},
    )
    assert (answer.running.request_count, answer.running.usage.output_tokens) == (2, 6)
    assert answer.fresh_through_time.ToMicroseconds() == FRESH_US
    assert it.asked == [(SERVICE,)]


async def test_totals_are_what_the_buckets_add_up_to(it: Serving) -> None:
    """Over the whole range; the same however it is grouped, and however long the steps are."""
    ads, chat = (("team", "ads"),), (("team", "chat"),)
    await it.write(usage(0, 1, labels=ads), usage(7, 2, labels=chat), usage(14, 5, labels=ads), denial(7, 3))
    whole = await it.stub.QueryUsage(query(group_by=["label:team"]))
    steps = await it.stub.QueryUsage(query(group_by=["label:team"], step=Duration(seconds=300)))
    assert len(steps.buckets) > len(whole.buckets) == 3
    (ungrouped,) = (await it.stub.QueryUsage(query())).buckets
    assert steps.total == whole.total == ungrouped
    assert (ungrouped.request_count, dict(ungrouped.denial_counts)) == (3, {"BUDGET_CONTENDED": 3})
    assert ungrouped.cost_nanos == sum(bucket.cost_nanos for bucket in steps.buckets) == 8_000
    empty = await it.stub.QueryUsage(query(7_200, 10_800))
    assert (empty.total.request_count, len(empty.buckets)) == (0, 0)


async def test_what_rules_in_dry_run_would_have_denied_is_no_denial(it: Serving) -> None:
    """It is counted by rule, apart where a node could not tell, and with the key that was shown."""
    rule = f"{ACCOUNT}/rateRules/burst"
    counts = denial(0, 3, f"would_deny:{rule}"), denial(0, 1, f"would_deny:{rule}?"), denial(0, 2, "REQUEST_RATE")
    await it.write(*counts, denial(1, 4, f"would_deny:{rule}", credential="key-2"))

    (both,) = (await it.stub.QueryUsage(query())).buckets
    by_key = (await it.stub.QueryUsage(query(group_by=["credential"]))).buckets

    assert dict(both.would_deny_counts) == {rule: 7, f"{rule}?": 1}
    assert dict(both.denial_counts) == {"REQUEST_RATE": 2}
    assert {bucket.group["credential"]: dict(bucket.would_deny_counts) for bucket in by_key} == {
        "key-1": {rule: 3, f"{rule}?": 1},
        "key-2": {rule: 4},
    }


@pytest.mark.parametrize(
    ("start_s", "end_s", "minutes"),
    [(60, 120, {1}), (59, 120, {0, 1}), (60, 121, {1, 2}), (61, 62, {1}), (119, 181, {1, 2, 3})],
)
async def test_a_range_is_widened_to_whole_minutes(it: Serving, start_s: int, end_s: int, minutes: set[int]) -> None:
    """The start down, the end up; a range on exact minutes stays."""
    await it.write(*(usage(minute, 1) for minute in range(5)))
    answer = await it.stub.QueryUsage(query(start_s, end_s, step=Duration(seconds=60)))
    assert {(bucket.start_time.seconds - NOON_S) // 60 for bucket in answer.buckets} == minutes


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (QueryUsageRequest(), ["start_time", "end_time", "services"]),
        (query(60, 60), ["end_time"]),
        (query(60, 0, services=[]), ["end_time", "services"]),
        (query(end_time=Timestamp(seconds=2**62)), ["end_time"]),
        (query(step=Duration()), ["step"]),
        (query(step=Duration(seconds=90)), ["step"]),
        (query(step=Duration(seconds=-60)), ["step"]),
        (query(step=Duration(seconds=60, nanos=1)), ["step"]),
        (query(0, 60 * 10_001, step=Duration(seconds=60)), ["step"]),
        (query(-1, 60 * 10_000, step=Duration(seconds=60)), ["step"]),
        (query(services=[SERVICE, "accounts/A", "accounts/a/", "x"]), ["services[1]", "services[2]", "services[3]"]),
        (query(group_by=["service", "price", "label:"]), ["group_by[1]", "group_by[2]"]),
        (query(group_by=["service"] * 9), ["group_by"]),
        (query(teams=["red", "", "No Id", "accounts/acme/teams/red"]), ["teams[2]", "teams[3]"]),
        (query(teams=["red"] * 101), ["teams"]),
        (query(labels={str(n): "" for n in range(9)}), ["labels"]),
        (query(labels={"a": "\0"}, credential="\0"), ["credential", "labels"]),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(
    it: Serving, request_: QueryUsageRequest, fields: list[str]
) -> None:
    """Every wrong field is named."""
    assert await violations_of(it.stub.QueryUsage(request_)) == fields


async def test_ten_thousand_steps_are_allowed(it: Serving) -> None:
    """Exactly the bound."""
    assert not (await it.stub.QueryUsage(query(0, 60 * 10_000, step=Duration(seconds=60)))).buckets


async def test_a_refusal_of_everything_still_fits_into_the_trailers(it: Serving) -> None:
    """However many names are wrong, the caller hears of the first ones."""
    fields = await violations_of(it.stub.QueryUsage(query(services=["wrong"] * 10_000)))
    assert fields[:2] == ["services", "services[0]"]


async def test_a_record_says_all_there_is(it: Serving) -> None:
    """The parts of a settled request, with receipt and times; a running one has neither receipt nor end."""
    await it.write(settled_request("r1", estimated=True, team="red"), open_request("r2", output=9))
    (settled,) = (await it.stub.GetRequestUsage(GetRequestUsageRequest(service=SERVICE, request_id="r1"))).parts
    assert settled.state == request_usage_pb2.SETTLEMENT_STATE_FINISHED
    assert (settled.service, settled.service_uid, settled.request_id, settled.part) == (SERVICE, "uid-chat", "r1", "p1")
    assert (settled.node, settled.credential, dict(settled.labels)) == (NODE, "key-1", {"team": "search"})
    assert (settled.usage.cached_input_tokens, settled.receipt.trial.input_tokens) == (7, 60)
    assert (settled.receipt.cost_nanos, settled.receipt.debt_nanos, settled.receipt.price_version) == (12_345, 678, 3)
    assert (settled.start_time.ToMicroseconds(), settled.settle_time.ToMicroseconds()) == (NOON_US, NOON_US + 1_234_567)
    assert (settled.estimated, settled.team) == (True, "red")
    (running,) = (await it.stub.GetRequestUsage(GetRequestUsageRequest(service=SERVICE, request_id="r2"))).parts
    assert running.state == request_usage_pb2.SETTLEMENT_STATE_RUNNING
    assert running.usage.output_tokens == 9
    assert not running.HasField("receipt")
    assert not running.HasField("settle_time")


async def test_a_record_says_why_its_request_had_to_end(it: Serving) -> None:
    """And one that came not as far as it was told to says nothing."""
    told = Cut(Reason.BUDGET_EXCEEDED, NOON_US + 1_500_000, 20, "accounts/acme/budgets/cap")
    await it.write(settled_request("r1", output=20, told=told), settled_request("r2", output=18, told=told))
    answer = await it.stub.ListRequestUsage(ListRequestUsageRequest(service=SERVICE))
    cut, ended = answer.request_usages
    assert cut.cut == request_usage_pb2.RequestCut(
        reason=DECISION_REASON_BUDGET_EXCEEDED,
        cut_time=Timestamp(seconds=NOON_S + 1, nanos=500_000_000),
        budget="accounts/acme/budgets/cap",
    )
    assert not ended.HasField("cut")


async def test_a_request_that_nobody_knows_is_not_found(it: Serving) -> None:
    """NOT_FOUND names what was asked for."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await it.stub.GetRequestUsage(GetRequestUsageRequest(service=SERVICE, request_id="r1"))
    info = ErrorInfo()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert rpc_status.from_call(caught.value).details[0].Unpack(info)
    assert (info.reason, dict(info.metadata)) == ("RESOURCE_NOT_FOUND", {"resource": f"{SERVICE}/requests/r1"})


async def test_records_come_page_by_page(it: Serving) -> None:
    """Each record once; the last page has no token; pages are 100 records long unless said otherwise."""
    ids = sorted(f"r{number}" for number in range(101))
    await it.write(*(settled_request(request_id) for request_id in ids))
    for page_size, pages in ((0, 2), (50, 3), (101, 1), (5_000, 1)):
        seen, token, count = [], "", 0
        while True:
            request = ListRequestUsageRequest(service=SERVICE, page_size=page_size, page_token=token)
            page = await it.stub.ListRequestUsage(request)
            seen += [record.request_id for record in page.request_usages]
            token, count = page.next_page_token, count + 1
            if not token:
                break
        assert (seen, count) == (ids, pages)


@pytest.mark.parametrize(
    ("service_id", "is_known"),
    [
        ("a" * 63, True),
        (f"default-{'m.' * 31}m", True),
        ("a" * 64, False),
        (f"default-{'m' * 64}", False),
        ("a.b", False),
    ],
)
async def test_names_are_as_long_as_control_makes_them(it: Serving, service_id: str, *, is_known: bool) -> None:
    """No longer id is any service's: 63 characters, or the prefix of default services and a model's 63."""
    name = f"accounts/acme/services/{service_id}"
    if is_known:
        assert not (await it.stub.ListRequestUsage(ListRequestUsageRequest(service=name))).request_usages
        assert not (await it.stub.QueryUsage(query(services=[name]))).buckets
    else:
        assert await violations_of(it.stub.ListRequestUsage(ListRequestUsageRequest(service=name))) == ["service"]
        assert await violations_of(it.stub.QueryUsage(query(services=[name]))) == ["services[0]"]


async def test_a_page_that_makes_no_sense_is_refused(it: Serving) -> None:
    """Bad names and sizes, and tokens that are not ours or of another service."""
    await it.write(settled_request("r1"), settled_request("r2"))
    first = await it.stub.ListRequestUsage(ListRequestUsageRequest(service=SERVICE, page_size=1))
    wrong = ListRequestUsageRequest(service="accounts/acme", page_size=-1, page_token="?")
    assert await violations_of(it.stub.ListRequestUsage(wrong)) == ["service", "page_token", "page_size"]
    for token in (first.next_page_token, "bm8=", "é", "////"):
        request = ListRequestUsageRequest(service="accounts/acme/services/other", page_token=token)
        assert await violations_of(it.stub.ListRequestUsage(request)) == ["page_token"]


@pytest.mark.parametrize("request_id", ["", "x" * 65, "a\0b"])
async def test_an_id_that_no_request_can_have_is_refused(it: Serving, request_id: str) -> None:
    """As reports are checked."""
    call = it.stub.GetRequestUsage(GetRequestUsageRequest(service=SERVICE, request_id=request_id))
    assert await violations_of(call) == ["request_id"]


async def test_a_person_can_ask_with_grpcurl(it: Serving) -> None:
    """Without proto files, in JSON."""
    await it.write(usage(0, 4))
    noon, later = Timestamp(seconds=NOON_S), Timestamp(seconds=NOON_S + 60)
    data = {"start_time": noon.ToJsonString(), "end_time": later.ToJsonString(), "services": ["accounts/acme"]}
    outcome = await grpcurl(it.address, f"{NAME}/QueryUsage", data=data)
    assert outcome.json["buckets"][0]["usage"] == {"input_tokens": "8", "output_tokens": "4"}


async def test_what_was_wrong_with_a_key_is_explained_to_its_account(it: Serving) -> None:
    """Whoever showed it heard nothing of that."""
    refused = deny("r1", Reason.CREDENTIAL_INVALID)._replace(key_problem=KeyProblem.EXPIRED)
    it.denial_log.note(Denial(SERVICE, "", "", NOON_US, refused))
    answer = await it.stub.ExplainRequest(ExplainRequestRequest(account=ACCOUNT, request_id="r1"))
    (denial,) = answer.denials
    assert denial.key_problem == KeyProblem.EXPIRED.value
    assert denial.decision.message == Reason.CREDENTIAL_INVALID.sentence


async def test_what_became_of_a_request_is_explained(it: Serving) -> None:
    """Its records on any service of the account, and what this node denied of it, with what was answered."""
    other = f"{ACCOUNT}/services/other"
    await it.write(
        settled_request("r1"), open_request("r1", service=other, service_uid="uid-other"), open_request("r2")
    )
    it.denial_log.note(
        Denial(other, "red", "key-uid", NOON_US + 1, deny("r1", Reason.TRIAL_INSUFFICIENT, remaining_tokens=9))
    )
    answer = await it.stub.ExplainRequest(ExplainRequestRequest(account=ACCOUNT, request_id="r1"))
    assert [(part.service, part.request_id) for part in answer.parts] == [(SERVICE, "r1"), (other, "r1")]
    (denial,) = answer.denials
    assert (denial.service, denial.team, denial.credential) == (other, "red", "key-uid")
    assert (denial.decision.reason, denial.decision.remaining_tokens) == (DECISION_REASON_TRIAL_INSUFFICIENT, 9)
    assert denial.deny_time.ToMicroseconds() == NOON_US + 1
    assert answer.denials_known_since_time.ToMicroseconds() == NOON_US
    nothing = await it.stub.ExplainRequest(ExplainRequestRequest(account="accounts/acm", request_id="r1"))
    assert not nothing.parts
    assert not nothing.denials
    assert await violations_of(it.stub.ExplainRequest(ExplainRequestRequest(account=SERVICE))) == [
        "request_id",
        "account",
    ]
