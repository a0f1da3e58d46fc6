"""Usage as pages show it: of one day, by the hour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.console.charts import Series
from tallygate.metering.v1 import usage_service_pb2
from tallygate.metering.v1.usage_bucket_pb2 import UsageBucket

HOUR_S: Final = 3_600
HOURS: Final = 24
"""Number of hours that are shown."""
PAYERS: Final = (
    ("Reservation", "reserved"),
    ("Free trial", "trial"),
    ("Pay as you go", "billed"),
    ("Unfunded", "unfunded"),
)
"""Payers as the contract has them: their names for people, and what their fields begin with."""
_US_PER_S: Final = 1_000_000


def day_request(
    services: Sequence[str], now_us: int, group_by: Sequence[str] = ()
) -> usage_service_pb2.QueryUsageRequest:
    """What was used in the hours up to now, the one that runs included."""
    end_s = now_us // _US_PER_S // HOUR_S * HOUR_S + HOUR_S
    return usage_service_pb2.QueryUsageRequest(
        start_time=Timestamp(seconds=end_s - HOURS * HOUR_S),
        end_time=Timestamp(seconds=end_s),
        step=Duration(seconds=HOUR_S),
        services=services,
        group_by=group_by,
    )


def total_tokens(bucket: UsageBucket) -> int:
    """All tokens of a bucket."""
    payers = bucket.payers
    return payers.reserved_tokens + payers.trial_tokens + payers.billed_tokens + payers.unfunded_tokens


def hourly(request: usage_service_pb2.QueryUsageRequest, buckets: Iterable[UsageBucket]) -> list[int]:
    """Tokens of each hour, hours without any included."""
    values = [0] * HOURS
    for bucket in buckets:
        values[_hour(request, bucket)] += total_tokens(bucket)
    return values


def by_service(
    request: usage_service_pb2.QueryUsageRequest, buckets: Iterable[UsageBucket]
) -> Mapping[str, Sequence[int]]:
    """Tokens of each hour by the service's name."""
    found: dict[str, list[UsageBucket]] = {}
    for bucket in buckets:
        found.setdefault(bucket.group["service"], []).append(bucket)
    return {name: hourly(request, its) for name, its in found.items()}


def by_payer(request: usage_service_pb2.QueryUsageRequest, buckets: Sequence[UsageBucket]) -> list[Series]:
    """Tokens of each hour by who paid for them."""
    found = []
    for name, kind in PAYERS:
        values = [0] * HOURS
        for bucket in buckets:
            values[_hour(request, bucket)] += getattr(bucket.payers, f"{kind}_tokens")
        found.append(Series(name, kind, values))
    return found


def hour_labels(request: usage_service_pb2.QueryUsageRequest) -> list[str]:
    """The hours by the clock, in UTC."""
    first = request.start_time.seconds
    return [f"{(first + hour * HOUR_S) // HOUR_S % 24:02}:00" for hour in range(HOURS)]


def _hour(request: usage_service_pb2.QueryUsageRequest, bucket: UsageBucket) -> int:
    return (bucket.start_time.seconds - request.start_time.seconds) // HOUR_S
