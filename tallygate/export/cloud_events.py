"""Settled requests as CloudEvents 1.0, a JSON object on each line, for billing systems such as OpenMeter and Lago.

The id of an event follows from the record: service, request and part. A system that drops ids which it has seen counts
nothing twice, however often and in whichever pieces usage is exported.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import BinaryIO, Final
from urllib.parse import quote

from tallygate._wire.amounts import units_text
from tallygate.export.columns import moment_us
from tallygate.export.csv_file import time_text
from tallygate.export.records import KINDS, PAYERS, cut_reason
from tallygate.metering.v1 import request_usage_pb2, token_usage_pb2

TYPE: Final = "tallygate.request.settled"
"""Type of every event."""


class CloudEventsFile:
    """Writes settled records to a binary file. `models`: of services, by name."""

    def __init__(self, file: BinaryIO, models: dict[str, str]) -> None:
        self._file = file
        self._models = models

    def write(self, records: Iterable[request_usage_pb2.RequestUsage]) -> None:
        """Writes a page of records."""
        for record in records:
            event = cloud_event(record, self._models.get(record.service, ""))
            text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
            self._file.write(f"{text}\n".encode())

    def close(self) -> None:
        """Ends the events: there is nothing to add."""


def cloud_event(record: request_usage_pb2.RequestUsage, model: str) -> dict[str, object]:
    """The event of a settled record. Its subject is the account, which the usage is billed to."""
    receipt, account = record.receipt, record.service.split("/services/")[0]
    payers = {f"{payer}_tokens": _total(getattr(receipt, payer)) for payer in PAYERS}
    return {
        "specversion": "1.0",
        "id": event_id(record),
        "source": f"/{record.service}",
        "type": TYPE,
        "subject": account,
        "time": time_text(moment_us(record.settle_time)),
        "datacontenttype": "application/json",
        "data": {
            "request_id": record.request_id,
            "service": record.service,
            "model": model,
            "team": record.team,
            "credential": record.credential,
            "labels": dict(record.labels),
            "cut_reason": cut_reason(record),
            **{kind: getattr(receipt.usage, kind) for kind in KINDS},
            "total_tokens": _total(receipt.usage),
            **payers,
            "cost_nanos": receipt.cost_nanos,
            "cost": units_text(receipt.cost_nanos),
        },
    }


def event_id(record: request_usage_pb2.RequestUsage) -> str:
    """Which record it is: unique among all services and for all time, and the same at every export."""
    # A request's id is any text: without slashes it cannot look like another one's id and part.
    return "/".join(filter(None, (record.service_uid, quote(record.request_id, safe=""), record.part)))


def _total(usage: token_usage_pb2.TokenUsage) -> int:
    return sum(getattr(usage, kind) for kind in KINDS)
