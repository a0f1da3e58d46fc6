"""Metrics and spans as an OpenTelemetry collector takes them, over a real connection."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from control_service.bootstrap import serve
from control_service.settings import parse
from metering_service.traces import RequestTraces
from tallygate._channel import open_aio_channel
from tallygate._security import PLAIN
from tallygate._server.errors import ConfigurationError
from tallygate._server.metrics.families import counter, gauge, seconds
from tallygate._server.metrics.histogram import MS, Histogram
from tallygate._server.metrics.otlp import metrics_data
from tallygate._server.process import service_options
from tallygate._server.traces import resource_of, sending_spans
from tallygate.control.v1 import account_service_pb2, account_service_pb2_grpc
from tallygate.metering.v1 import metering_service_pb2 as pb
from tallygate.metering.v1 import report_pb2, token_usage_pb2
from tests.harness.metering.node_harness import SERVICE, Fleet
from tests.harness.metering.services import with_money
from tests.harness.otlp_receiver import receiving
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.metering_node import serving_node

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
SAMPLED, UNSAMPLED = (f"00-{TRACE_ID}-{PARENT_ID}-{flags}" for flags in ("01", "00"))
AUTHORIZE, FINISH = report_pb2.REPORT_PHASE_AUTHORIZE, report_pb2.REPORT_PHASE_FINISH


def report(request_id: str, phase: "report_pb2.ReportPhase.ValueType", traceparent: str = "") -> report_pb2.TokenReport:
    return report_pb2.TokenReport(
        request_id=request_id,
        service=SERVICE,
        phase=phase,
        usage=token_usage_pb2.TokenUsage(input_tokens=7),
        labels={"traceparent": traceparent} if traceparent else {},
    )


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_families_are_told_in_the_words_of_opentelemetry() -> None:
    """Buckets that add up become counts between bounds; what only grows is a sum from the start on."""
    histogram = Histogram((MS, 20 * MS))
    for duration_ns in (MS, 3 * MS, 4 * MS, 100 * MS):
        histogram.observe(duration_ns)
    families = [counter("a", "A.", {"x": 1}, "kind"), gauge("b", "B.", 2), seconds("c", "C.", histogram)]
    told = json.loads(metrics_data(families, resource_of("s", "i"), 5, 9).to_json())["resource_metrics"][0]
    of_counter, of_gauge, of_histogram = (one["data"] for one in told["scope_metrics"][0]["metrics"])
    assert of_counter["is_monotonic"]
    (point,) = of_counter["data_points"]
    assert (point["attributes"], point["value"], point["start_time_unix_nano"]) == ({"kind": "x"}, 1, 5)
    assert of_gauge["data_points"][0]["value"] == 2
    (buckets,) = of_histogram["data_points"]
    assert (buckets["explicit_bounds"], buckets["bucket_counts"]) == ([0.001, 0.02], [1, 2, 1])
    assert (buckets["count"], buckets["sum"]) == (4, 0.108)


async def test_control_sends_metrics_and_a_span_for_each_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call that brings a trace is in it; one that is refused has its code, and is no fault of the server."""
    async with receiving() as receiver:
        url = f"sqlite:///{tmp_path / 'c.sqlite3'}"
        settings = parse(["--listen", "127.0.0.1:0", "--database-url", url, "--otlp-endpoint", receiver.endpoint], {})
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(settings, stop))
        async with asyncio.timeout(PATIENCE_S):
            said = ""
            while (found := re.search(r"^serving (\S+)$", said, re.MULTILINE)) is None:
                await asyncio.sleep(0.01)
                said += capsys.readouterr().out
            async with open_aio_channel(found[1], PLAIN) as channel:
                accounts = account_service_pb2_grpc.AccountServiceStub(channel)
                create = account_service_pb2.CreateAccountRequest(name="accounts/acme")
                await accounts.CreateAccount(create, metadata=(("traceparent", SAMPLED),))
                with pytest.raises(Exception, match="ALREADY_EXISTS"):
                    await accounts.CreateAccount(create)
            stop.set()
            await serving
    first, second = (span for span in receiver.spans if span.name.endswith("AccountService/CreateAccount"))
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
    assert attributes(first)["rpc.service"] == "tallygate.control.v1.AccountService"
    assert second.trace_id != first.trace_id
    assert attributes(second)["rpc.grpc.status_code"] == 6
    assert {span.status.code for span in (first, second)} == {0}
    assert receiver.metrics["tallygate_control_nodes"].gauge.data_points
    assert receiver.metrics["tallygate_rpcs"].sum.is_monotonic
    assert {resource["service.name"] for resource in receiver.resources} == {"tallygate-control"}


async def test_a_sampled_request_of_a_stream_has_a_span() -> None:
    """In its server's trace, from its authorisation to its finish, or to its denial; the label is not recorded."""
    fleet = Fleet()
    with_money(fleet, 10_000)
    async with (
        receiving() as receiver,
        sending_spans(receiver.endpoint, resource_of("node", "a")) as tracer,
        serving_node(fleet["a"], traces=(traces := RequestTraces(tracer))) as node,
    ):
        stream = node.stream()
        begun = [report("r1", AUTHORIZE, SAMPLED), report("r2", AUTHORIZE, UNSAMPLED), report("r3", AUTHORIZE)]
        unknown = report("r4", AUTHORIZE, SAMPLED)
        unknown.whole, unknown.min_output_tokens = True, 1 << 50
        await stream.send(pb.MeterRequest(first_sequence=1, reports=[*begun, unknown]))
        await stream.until_answered(4)
        finishes = [report(f"r{number}", FINISH) for number in (1, 2, 3)]
        await stream.send(pb.MeterRequest(first_sequence=5, reports=finishes))
        await stream.until_answered(7)
        await stream.send(pb.MeterRequest(first_sequence=8, reports=[report("r5", AUTHORIZE, SAMPLED)]))
        await stream.until_answered(8)
        fleet["a"].commit()
        stream.call.cancel()
        async with asyncio.timeout(PATIENCE_S):
            while traces.open_count:  # noqa: ASYNC110  # until the node has noticed
                await asyncio.sleep(0.01)
    spans = {attributes(span)["tallygate.request_id"]: span for span in receiver.spans}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE_ID}
    assert {name: [event.name for event in span.events] for name, span in spans.items()} == {
        "r1": ["allowed"],
        "r4": ["denied"],
        "r5": ["allowed", "stream ended"],
    }
    assert attributes(spans["r1"])["tallygate.tokens"] == 7
    assert {record.labels for record in fleet.database.requests.values()} == {()}


def test_an_endpoint_is_an_address_of_the_web(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of no use without OpenTelemetry, which is said before anything starts."""
    with pytest.raises(ConfigurationError, match="--otlp-endpoint is"):
        parse(["--otlp-endpoint", "collector:4317"], {})
    monkeypatch.setattr(service_options, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'tallygate\[server,otel\]'"):
        parse(["--otlp-endpoint", "http://collector:4317"], {})
