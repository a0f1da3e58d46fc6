"""Settled requests as CloudEvents."""

from __future__ import annotations

import io
import json

from tallygate.export.cloud_events import CloudEventsFile, event_id
from tallygate.metering.v1 import decision_pb2, receipt_pb2, request_usage_pb2, token_usage_pb2


def record(request_id: str = "r1", part: str = "p", uid: str = "uid") -> request_usage_pb2.RequestUsage:
    usage = token_usage_pb2.TokenUsage(input_tokens=812, output_tokens=131)
    made = request_usage_pb2.RequestUsage(
        service="accounts/acme/services/chat",
        service_uid=uid,
        request_id=request_id,
        part=part,
        receipt=receipt_pb2.Receipt(usage=usage, billed=usage, cost_nanos=2**53 + 1),
        labels={"project": "search"},
    )
    made.settle_time.FromJsonString("2026-10-01T00:00:01.5Z")
    return made


def events(*records: request_usage_pb2.RequestUsage) -> list[dict[str, object]]:
    file = io.BytesIO()
    CloudEventsFile(file, {"accounts/acme/services/chat": "models/llama"}).write(records)
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_an_event_has_what_the_specification_demands() -> None:
    """And its time is when the request was settled, its subject who pays."""
    (event,) = events(record())
    assert {name: event[name] for name in ("specversion", "id", "source", "type", "subject", "time")} == {
        "specversion": "1.0",
        "id": "uid/r1/p",
        "source": "/accounts/acme/services/chat",
        "type": "tallygate.request.settled",
        "subject": "accounts/acme",
        "time": "2026-10-01T00:00:01.500000Z",
    }


def test_an_event_is_exact() -> None:
    """Counts and nanos are integers; the amount in units is a text."""
    (event,) = events(record())
    data = event["data"]
    assert isinstance(data, dict)
    assert (data["total_tokens"], data["billed_tokens"], data["model"]) == (943, 943, "models/llama")
    assert (data["cost_nanos"], data["cost"]) == (2**53 + 1, "9007199.254740993")


def test_an_event_says_why_its_request_had_to_end() -> None:
    """Empty where it ended by itself."""
    cut = record()
    cut.cut.reason = decision_pb2.DECISION_REASON_SUSPENDED
    reasons = [data["cut_reason"] for event in events(cut, record()) if isinstance(data := event["data"], dict)]
    assert reasons == ["SUSPENDED", ""]


def test_an_id_is_the_records() -> None:
    """The same at every export, and another one's nowhere: nothing is counted twice, and nothing is lost."""
    assert event_id(record()) == event_id(record())
    others = [record(), record("r2"), record(part="q"), record(uid="other"), record("r1/p", part="")]
    assert len({event_id(one) for one in others}) == 5
