"""What a person is told about bytes that are not the request that they should be."""

from typing import Any

import pytest

from tallygate._server.grpc.unreadable import VALUES_SEARCHED_MAX, explain
from tallygate.control.v1 import lifecycle_service_pb2, model_pb2
from tallygate.metering.v1 import metering_service_pb2, report_pb2, usage_service_pb2

REPORT = report_pb2.TokenReport(request_id="r1", labels={"k": "dXf"}, phase=report_pb2.REPORT_PHASE_FINISH)


def spoiled(message: Any) -> bytes:
    """As bytes, with `dXf` no longer UTF-8."""
    encoded: bytes = message.SerializeToString()
    return encoded.replace(b"dXf", b"d\xfff")


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (report_pb2.TokenReport(request_id="dXf"), "request_id"),
        (metering_service_pb2.ReportRequest(report=REPORT), "report.labels[0].value"),
        (metering_service_pb2.MeterRequest(reports=[report_pb2.TokenReport(), REPORT]), "reports[1].labels[0].value"),
        (usage_service_pb2.QueryUsageRequest(services=["a", "b", "dXf"]), "services[2]"),
        (usage_service_pb2.QueryUsageRequest(credential="dXf"), "credential"),
        (model_pb2.Model(aliases=["a", "dXf"]), "aliases[1]"),
        (lifecycle_service_pb2.ListInferenceServicesRequest(team="dXf"), "team"),
    ],
)
def test_a_text_that_is_not_utf_8_is_named(message: Any, path: str) -> None:
    """By the path of its field, wherever it is."""
    assert explain(type(message).DESCRIPTOR, spoiled(message)) == (path, "is not valid UTF-8")


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05abc", b"\x0a", b"\x0b"])
def test_what_is_no_message_is_called_that(data: bytes) -> None:
    """By the name of what it should be."""
    path, what = explain(report_pb2.TokenReport.DESCRIPTOR, data)
    assert (path, what) == ("", "is not a tallygate.metering.v1.TokenReport: its bytes are cut off or garbled")


def test_the_search_for_a_bad_text_is_bounded() -> None:
    """Behind very many values it is not looked for, and no field is named."""
    many = usage_service_pb2.QueryUsageRequest(services=["a"] * VALUES_SEARCHED_MAX, credential="dXf")
    assert explain(many.DESCRIPTOR, spoiled(many)) == ("", "has a text that is not valid UTF-8")
