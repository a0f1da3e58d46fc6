"""The page of usage: its figures are those of QueryUsage, to the token and the nano."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx2
import pytest
import pytest_asyncio
import uvicorn
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from metering_service.storage import usage_query, usage_reader
from tallygate.console.calls import CallError, Link
from tallygate.console.usage_figures import Figures, total_of
from tallygate.metering.v1.usage_bucket_pb2 import UsageBucket
from tallygate.metering.v1.usage_service_pb2 import QueryUsageRequest, QueryUsageResponse
from tests.harness.console.metered_stage import AS_OPERATOR, MeteredStage, metered_stage, rows_of
from tests.harness.metering.records import NOON_US, denial, usage
from tests.harness.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "/accounts/acme/usage"
NOON_S = NOON_US // 1_000_000
BATCH = "accounts/acme/services/batch"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeteredStage]:
    """Two services of two teams have used something in the hours before noon, and a third one of another account."""
    async with metered_stage(tmp_path_factory.mktemp("usage")) as stage:
        await stage.write(
            usage(-5, 7, team="red", labels=(("stage", "test"),)),
            usage(-90, 11, team="red", credential="key-2"),
            usage(-91, 13_000_001, service=BATCH, uid="uid-batch", team="blue", key_team="blue"),
            usage(-3, 1_000_000, service="accounts/other/services/chat", uid="uid-other", team="red"),
            denial(-5, 3, team="red"),
            denial(-5, 2, "REQUEST_RATE", service=BATCH, team="blue"),
            # In the span before.
            usage(-60 * 30, 17, team="red"),
        )
        yield stage


async def queried(stage: MeteredStage, start_s: int = -86_400, **fields: Any) -> QueryUsageResponse:
    values = {"start_time": Timestamp(seconds=NOON_S + start_s), "end_time": Timestamp(seconds=NOON_S)}
    request = QueryUsageRequest(**{"services": ["accounts/acme"], **values, **fields})
    return await stage.usage.QueryUsage(request, metadata=AS_OPERATOR)


def figures(bucket: UsageBucket) -> list[str]:
    """The cells of a line, worked out from the answer alone."""
    kinds, payers = bucket.usage, bucket.payers
    counts = [
        bucket.request_count,
        kinds.input_tokens + kinds.cached_input_tokens + kinds.cache_write_tokens,
        kinds.output_tokens + kinds.reasoning_tokens,
        payers.reserved_tokens,
        payers.trial_tokens,
        payers.billed_tokens,
        payers.unfunded_tokens,
    ]
    denied = sum(bucket.denial_counts.values())
    return [*(f"{count:,}" for count in counts), str(bucket.cost_nanos), f"{denied:,}"]


@pytest.mark.parametrize("by", ["service", "model", "team", "credential", "key_team", "label"])
async def test_figures_are_those_of_the_service(stage: MeteredStage, by: str) -> None:
    """Each step, each group, the totals, and what the span before had."""
    browser = await stage.signed_in("vera")
    page = await browser.get(PAGE, params={"by": by, "label": "stage"})
    group = "label:stage" if by == "label" else by
    steps = await queried(stage, step=Duration(seconds=3_600))
    groups = await queried(stage, group_by=[group])
    rows = rows_of(page.text)
    lines = [row[-9:] for row in rows if len(row) >= 10]
    assert [figures(bucket) for bucket in steps.buckets] == [row[-9:] for row in rows if row[0].endswith("UTC")]
    assert all(figures(bucket) in lines for bucket in groups.buckets)
    assert [row[-9:] for row in rows if row[0] == "Total"] == [figures(groups.total), figures(steps.total)]
    assert figures(steps.total) == figures(groups.total)
    before = await queried(stage, -2 * 86_400, end_time=Timestamp(seconds=NOON_S - 86_400))
    assert before.total.request_count == 1
    assert f"before: {Figures(before.total).tokens:,}<" in page.text
    assert ["Budget contended", "3"] in rows
    assert "2 requests with 11 tokens so far" in page.text


async def test_filters_narrow_all_figures(stage: MeteredStage) -> None:
    """To a service, a team, a key; links on the page lead there."""
    browser = await stage.signed_in("vera")
    assert f'href="{PAGE}?service=batch"' in (await browser.get(PAGE)).text
    for query, fields in (
        ({"service": "batch"}, {"services": [BATCH]}),
        ({"team": "red"}, {"teams": ["red"]}),
        ({"key": "key-2"}, {"credential": "key-2"}),
    ):
        rows = rows_of((await browser.get(PAGE, params=query)).text)
        answer = await queried(stage, group_by=["service"], **fields)
        assert len(answer.buckets) == 1
        assert [row[-9:] for row in rows if row[0] == "Total"] == [figures(answer.total)] * 2


async def test_a_file_has_every_step_and_group(stage: MeteredStage) -> None:
    """With integers, as the service says them."""
    browser = await stage.signed_in("vera")
    file = await browser.get(f"{PAGE}.csv", params={"span": "24h", "by": "team"})
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    answer = await queried(stage, step=Duration(seconds=3_600), group_by=["team"])
    head, *lines = [line.split(",") for line in file.text.splitlines()]
    assert [line[head.index("team")] for line in lines] == [bucket.group["team"] for bucket in answer.buckets]
    for name, found in (
        ("cost_nanos", [bucket.cost_nanos for bucket in answer.buckets]),
        ("input_tokens", [bucket.usage.input_tokens for bucket in answer.buckets]),
        ("billed_tokens", [bucket.payers.billed_tokens for bucket in answer.buckets]),
        ("denial_count", [sum(bucket.denial_counts.values()) for bucket in answer.buckets]),
    ):
        assert [int(line[head.index(name)]) for line in lines] == found


async def test_a_file_has_more_than_fits_into_an_answer(stage: MeteredStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part by part of its time; but not where a single step is too much."""
    browser = await stage.signed_in("vera")
    wanted = {"span": "7d", "step": "3600", "by": "credential"}
    whole = await browser.get(f"{PAGE}.csv", params=wanted)
    assert whole.text.count("\n") > 3
    for module in (usage_query, usage_reader):
        monkeypatch.setattr(module, "USAGE_ROWS_MAX", 2)
    assert (await browser.get(f"{PAGE}.csv", params=wanted)).text == whole.text
    for module in (usage_query, usage_reader):
        monkeypatch.setattr(module, "USAGE_ROWS_MAX", 0)
    refused = await browser.get(f"{PAGE}.csv", params={**wanted, "span": "1h"})
    assert (refused.status_code, "group by less" in refused.text) == (400, True)


async def test_a_file_that_breaks_off_does_not_look_whole(stage: MeteredStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a node goes away in the middle, the browser is told that the answer did not end."""
    browser = await stage.signed_in("vera")
    for module in (usage_query, usage_reader):
        monkeypatch.setattr(module, "USAGE_ROWS_MAX", 2)
    asked, read = [], Link.call

    async def call(link: Link, *told: Any) -> Any:
        answer = await read(link, *told)
        asked.append(answer)
        if len(asked) > 1:
            raise CallError(grpc.StatusCode.UNAVAILABLE, "The metering service does not answer.")
        return answer

    monkeypatch.setattr(Link, "call", call)
    async with serving(stage.app) as home, httpx2.AsyncClient(base_url=home, cookies=browser.client.cookies) as client:
        with pytest.raises(httpx2.RemoteProtocolError, match="incomplete chunked read"):
            await client.get(f"{PAGE}.csv", params={"span": "7d", "step": "3600", "by": "credential"})
    assert len(asked) == 2


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """The console at a port, by the server that it has."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE_S):
        while not server.started:  # noqa: ASYNC110  # the server says it by no event
            await asyncio.sleep(0)
    host, port = server.servers[0].sockets[0].getsockname()
    yield f"http://{host}:{port}"
    server.should_exit = True
    await task


async def test_a_node_that_says_no_total_has_the_sum_of_its_steps(stage: MeteredStage) -> None:
    """As one of the version before, whose answers would say that nothing was used."""
    answer = await queried(stage, step=Duration(seconds=3_600), group_by=["service"])
    said = answer.total
    answer.ClearField("total")
    assert figures(total_of(answer)) == figures(said)
    assert total_of(answer).payers == said.payers


@pytest.mark.parametrize("span", ["1h", "7d", "30d", "month", "last-month"])
async def test_every_span_has_its_figures(stage: MeteredStage, span: str) -> None:
    """And says from when to when it is, and how fresh."""
    browser = await stage.signed_in("vera")
    page = await browser.get(PAGE, params={"span": span})
    assert page.status_code == 200
    assert ("data-live" in page.text) == (span != "last-month")
    (_, total) = [row for row in rows_of(page.text) if row[0] == "Total"]
    hour = await queried(stage, -3_600)
    expected = {"1h": f"{hour.total.request_count}", "last-month": "0"}.get(span)
    assert total[1] == (expected or total[1])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"span": "custom", "since": "yesterday", "until": "2026-01-01T00:00"}, "since"),
        ({"span": "custom", "since": "2027-01-02T00:00", "until": "2027-01-01T00:00"}, "until"),
        ({"span": "30d", "step": "60"}, "step"),
        ({"step": "61"}, "step"),
        ({"by": "label"}, "label"),
        ({"by": "nothing"}, "by"),
        ({"service": "No Such Service!"}, "service"),
        ({"team": "No such team"}, "team"),
        ({"span": "custom", "since": "2020-01-01T00:30", "until": "2020-01-02T00:00"}, ""),
    ],
)
async def test_what_cannot_be_meant_is_said_and_kept(stage: MeteredStage, query: dict[str, str], field: str) -> None:
    """Beside its field, with the status of a bad request; also where a file was asked for."""
    browser = await stage.signed_in("vera")
    for path in (PAGE, f"{PAGE}.csv"):
        page = await browser.get(path, params=query)
        assert (page.status_code, f'action="{PAGE}"' in page.text) == (400 if field else 200, True)
        assert f'aria-describedby="{field}-said" aria-invalid="true"' in page.text or not field
        for name, typed in query.items():
            assert f'name="{name}"' in page.text
            assert f'value="{typed}"' in page.text or typed in ("nothing", "61")
        if not field:
            break


async def test_a_part_is_read_again_only_where_it_changed(stage: MeteredStage) -> None:
    """By the tag of what it had."""
    browser = await stage.signed_in("vera")
    part = {"part": "figures", "span": "24h"}
    first = await browser.get(PAGE, params=part)
    assert "<html" not in first.text
    again = await browser.get(PAGE, params=part, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    await stage.write(usage(-4, 1))
    changed = await browser.get(PAGE, params=part, headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200


async def test_others_see_theirs_alone(stage: MeteredStage) -> None:
    """A team's member what the team used; another tenant no such account."""
    rita, otto = await stage.signed_in("rita"), await stage.signed_in("otto")
    page = await rita.get(PAGE)
    of_red = await queried(stage, teams=["red"])
    assert [row[-9:] for row in rows_of(page.text) if row[0] == "Total"] == [figures(of_red.total)] * 2
    assert "batch" not in page.text
    for path in (PAGE, f"{PAGE}.csv", f"{PAGE}?service=batch"):
        refused = await otto.get(path)
        assert refused.status_code == 404
        assert "13,000,001" not in refused.text
