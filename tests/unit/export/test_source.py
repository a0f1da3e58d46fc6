"""What an export asks a node for: every minute once, and every service that has records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from typer.testing import CliRunner
from typing_extensions import override

from metering_service.api.usage_request import decode_usage_query
from metering_service.domain.resolution import Resolution
from tallygate._access.rights import SEES_ALL
from tallygate._channel import Channels
from tallygate.cli import patient_node
from tallygate.cli.export_source import Source, Span
from tallygate.cli.patient_node import AWAY_MAX_S
from tallygate.cli.usage_export import app
from tallygate.metering.v1 import request_usage_pb2, usage_bucket_pb2, usage_service_pb2_grpc
from tallygate.metering.v1 import usage_service_pb2 as pb

CHAT = "accounts/acme/services/chat"
MIDNIGHT_S = 1_793_491_200
MINUTE_S = 60
HOUR_S = 3_600
DAY_S = 86_400
US = 1_000_000


class Node(usage_service_pb2_grpc.UsageServiceServicer):
    """Has one request in every minute, of which all but the last day are kept by hour.

    `records`: ids of each service's records, of which a page has two. `away`: how often each page is not answered, by
    its token, and how often sums are not, by the start of their range.
    """

    def __init__(self) -> None:
        self.resolution = Resolution(hours_before_us=MIDNIGHT_S * US)
        self.asked: list[str] = []
        self.records: dict[str, list[str]] = {CHAT: []}
        self.away: Counter[str] = Counter()
        self.buckets_max = 10_000

    @override
    def QueryUsage(self, request: pb.QueryUsageRequest, context: grpc.ServicerContext) -> pb.QueryUsageResponse:
        self._be_away(str(request.start_time.seconds), context)
        query = decode_usage_query(request, SEES_ALL)
        if self.resolution.problems(query.start_us, query.end_us, query.step_us):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "kept by hour")
        step_us = query.step_us or query.end_us - query.start_us
        starts_us = range(query.start_us, query.end_us, step_us)
        buckets = [
            _bucket(start, min(start + step_us, query.end_us), service)
            for start in starts_us
            for service in self.records
        ]
        if len(buckets) > self.buckets_max:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "too many buckets")
        return pb.QueryUsageResponse(buckets=buckets)

    @override
    def ListRequestUsage(self, request: pb.ListRequestUsageRequest, context: Any) -> pb.ListRequestUsageResponse:
        self.asked.append(request.service)
        self._be_away(request.page_token, context)
        begin = int(request.page_token or 0)
        ids, end = self.records[request.service], begin + 2
        page = [request_usage_pb2.RequestUsage(request_id=each) for each in ids[begin:end]]
        return pb.ListRequestUsageResponse(request_usages=page, next_page_token=str(end) if end < len(ids) else "")

    def _be_away(self, page: str, context: grpc.ServicerContext) -> None:
        if self.away[page]:
            self.away[page] -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "Shutting down")

    @override
    def GetRequestUsage(self, request: pb.GetRequestUsageRequest, context: Any) -> pb.GetRequestUsageResponse:
        raise NotImplementedError

    @override
    def ExplainRequest(self, request: pb.ExplainRequestRequest, context: Any) -> pb.ExplainRequestResponse:
        raise NotImplementedError


def _bucket(start_us: int, end_us: int, service: str) -> usage_bucket_pb2.UsageBucket:
    return usage_bucket_pb2.UsageBucket(
        start_time=Timestamp(seconds=start_us // US),
        group={"service": service},
        request_count=(end_us - start_us) // (MINUTE_S * US),
    )


@pytest.fixture
def node() -> Iterator[tuple[Node, Source]]:
    """A node, and what reads it."""
    servicer, server = Node(), grpc.server(futures.ThreadPoolExecutor(2))
    usage_service_pb2_grpc.add_UsageServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, Source("accounts/acme", "", [f"127.0.0.1:{port}"])
    server.stop(None).wait()


def span(start_s: int, end_s: int) -> Span:
    return Span(Timestamp(seconds=MIDNIGHT_S + start_s), Timestamp(seconds=MIDNIGHT_S + end_s))


@pytest.mark.parametrize(("start_s", "end_s"), [(0, 3 * DAY_S), (17, 3 * DAY_S + 17), (59, DAY_S + 60)])
@pytest.mark.parametrize("step_s", [MINUTE_S, HOUR_S])
def test_each_minute_is_in_one_answer(node: tuple[Node, Source], start_s: int, end_s: int, step_s: int) -> None:
    """Also where a span begins and ends within minutes, and takes several answers."""
    pages = node[1].aggregates(span(start_s, end_s), Duration(seconds=step_s), [])
    buckets = [bucket for page in pages for bucket in page]
    starts_s = [bucket.start_time.seconds for bucket in buckets]
    assert len(set(starts_s)) == len(starts_s)
    assert sum(bucket.request_count for bucket in buckets) == end_s // MINUTE_S - start_s // MINUTE_S


def test_spans_that_follow_each_other_have_each_minute_once(node: tuple[Node, Source]) -> None:
    """The minute in which one ends and the next one begins is in the next one."""
    found = [
        bucket.start_time.seconds
        for one in (span(10, 610), span(610, 1_210))
        for page in node[1].aggregates(one, Duration(seconds=MINUTE_S), [])
        for bucket in page
    ]
    assert found == [MIDNIGHT_S + minute * MINUTE_S for minute in range(20)]


def test_records_are_found_where_sums_are_by_hour(node: tuple[Node, Source]) -> None:
    """Services are looked for by whole days, which are always kept."""
    servicer, source = node
    assert [*source.records(span(-DAY_S - 617, -617))] == [[]]
    assert servicer.asked == [CHAT]


def _ids(source: Source) -> list[str]:
    return [record.request_id for page in source.records(span(0, DAY_S)) for record in page]


def test_all_pages_of_all_services_are_read(node: tuple[Node, Source]) -> None:
    """Also where one has none, and where there are more than a node tells at once."""
    servicer, source = node
    servicer.records = {CHAT: ["a", "b", "c"], f"{CHAT}-2": [], f"{CHAT}-3": ["d", "e"], f"{CHAT}-4": ["f"]}
    servicer.buckets_max = 4
    ids = _ids(source)
    assert sorted(ids) == ["a", "b", "c", "d", "e", "f"]
    assert [each for each in ids if each in "abc"] == ["a", "b", "c"]


def test_a_node_has_another_page_to_make_while_one_is_written(node: tuple[Node, Source]) -> None:
    """Two services are read in turn, and the next one begins where one ends."""
    servicer, source = node
    servicer.records = {CHAT: ["a", "b", "c", "d", "e"], f"{CHAT}-2": ["f", "g", "h"], f"{CHAT}-3": ["i"]}
    pages = [[record.request_id for record in page] for page in source.records(span(0, DAY_S))]
    assert pages == [["a", "b"], ["f", "g"], ["c", "d"], ["h"], ["e"], ["i"]]


def test_a_node_that_is_started_again_is_asked_for_the_same_page(
    node: tuple[Node, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record is there once: nothing of a page that was not answered is taken, and none is left out."""
    monkeypatch.setattr(patient_node, "ASK_AGAIN_S", 0)
    servicer, source = node
    servicer.records = {CHAT: ["a", "b", "c", "d", "e"]}
    servicer.away = Counter({"2": 3, "4": 1})
    assert _ids(source) == ["a", "b", "c", "d", "e"]
    assert servicer.away.total() == 0


def test_a_node_that_is_started_again_is_asked_for_the_same_sums(
    node: tuple[Node, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each minute is there once, as with records, however many answers the sums take."""
    monkeypatch.setattr(patient_node, "ASK_AGAIN_S", 0)
    servicer, source = node
    servicer.away = Counter({str(MIDNIGHT_S + DAY_S): 3, str(MIDNIGHT_S + 2 * DAY_S): 1})
    pages = [*source.aggregates(span(0, 3 * DAY_S), Duration(seconds=MINUTE_S), [])]
    starts_s = [bucket.start_time.seconds for page in pages for bucket in page]
    assert (len(pages), starts_s) == (3, [*range(MIDNIGHT_S, MIDNIGHT_S + 3 * DAY_S, MINUTE_S)])
    assert servicer.away.total() == 0


def test_a_node_that_is_back_is_found_before_it_is_given_up(
    node: tuple[Node, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself a channel pauses for longer with each attempt: after 43 s the next one is at 70 s."""
    opened: list[dict[str, object]] = []
    opens = Channels.open

    def noted(self: Channels, address: str, options: Any = ()) -> grpc.Channel:
        opened.append(dict(options))
        return opens(self, address, options)

    monkeypatch.setattr(Channels, "open", noted)
    assert _ids(node[1]) == []
    pauses_ms = [options.get("grpc.max_reconnect_backoff_ms") for options in opened]
    assert pauses_ms
    assert all(isinstance(pause_ms, int) and pause_ms <= AWAY_MAX_S * 1_000 / 10 for pause_ms in pauses_ms)


def test_a_node_that_stays_away_is_not_waited_for_for_ever(
    node: tuple[Node, Source], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that has not answered yet is not waited for at all."""
    servicer, source = node
    servicer.records = {CHAT: ["a", "b", "c"]}
    servicer.away = Counter({"": 1})
    with pytest.raises(typer.Exit):
        _ids(source)
    assert len(servicer.asked) == 1
    monkeypatch.setattr(patient_node, "AWAY_MAX_S", 0)
    servicer.away = Counter({"2": 1})
    with pytest.raises(typer.Exit):
        _ids(source)
    assert "cannot be reached" in capsys.readouterr().err


def test_days_that_are_not_kept_any_more_are_refused_with_what_is(
    node: tuple[Node, Source], capsys: pytest.CaptureFixture[str]
) -> None:
    """A month of a zone that is half an hour off begins within an hour of UTC; a month of UTC is there."""
    start, end = Timestamp(seconds=MIDNIGHT_S - 2 * DAY_S), Timestamp(seconds=MIDNIGHT_S + DAY_S)
    assert len([bucket for page in node[1].days(start, end) for bucket in page]) == 3
    with pytest.raises(typer.Exit):
        list(node[1].days(Timestamp(seconds=start.seconds + HOUR_S // 2), end))
    assert "--time-zone UTC" in " ".join(capsys.readouterr().err.split())


def test_a_span_that_is_empty_is_refused(tmp_path: Path) -> None:
    """Also where it ends before it begins because it ends a minute ago: no file says that nothing was used."""
    out = tmp_path / "usage.csv"
    done = CliRunner().invoke(app, ["export", "acme", "--since", "30s", "--out", str(out)])
    assert (done.exit_code, "--since must be before --until" in done.stderr) == (2, True)
    assert not out.exists()
