"""Records that say only what a test is about."""

from metering_service.domain.counts import ZERO, Counts
from metering_service.domain.pot import HeldUnits, PotKind
from metering_service.domain.receipt import Receipt
from metering_service.domain.records import (
    AggregateDelta,
    AggregateKey,
    CommitBatch,
    DenialKey,
    LeaseRecord,
    RequestRecord,
    RequestState,
    ShownRecord,
)
from metering_service.domain.usage_scope import WHOLE_SCOPE, UsageScope
from metering_service.storage import SqlUsageReader
from metering_service.usecases.ports import UsageQuery, UsageRow

NODE = "node-1"
SERVICE = "accounts/acme/services/chat"
UID = "uid-chat"
MINUTE_US = 60_000_000
NOON_US = 1_800_000_000 * 1_000_000 // MINUTE_US * MINUTE_US

Labels = tuple[tuple[str, str], ...]


def open_request(
    request_id: str, *, output: int = 10, part: str = "p1", epoch: int = 1, **more: object
) -> RequestRecord:
    """A running request at a checkpoint."""
    return _request(
        request_id,
        part=part,
        epoch=epoch,
        state=RequestState.OPEN,
        counts=Counts(input=100, output=output),
        receipt=Receipt(),
        held=HeldUnits(100, 500, 1, 2, 3, 4, 5),
        booked_us=None,
        **more,
    )


def settled_request(
    request_id: str,
    *,
    output: int = 20,
    part: str = "p1",
    epoch: int = 1,
    state: RequestState = RequestState.FINISHED,
    **more: object,
) -> RequestRecord:
    """A finished request, billed by token."""
    counts = Counts(input=100, cached_input=7, cache_write=3, output=output, reasoning=1)
    trial = Counts(input=60)
    return _request(
        request_id,
        part=part,
        epoch=epoch,
        state=state,
        counts=counts,
        receipt=Receipt(counts, ZERO, trial, counts - trial, ZERO, 2, 12_345, 678, 3, 1),
        held=HeldUnits(),
        **{"booked_us": NOON_US + 1_234_567, **more},
    )


def _request(request_id: str, **values: object) -> RequestRecord:
    record: dict[str, object] = {
        "service": SERVICE,
        "service_uid": UID,
        "request_id": request_id,
        "node": NODE,
        "price_nanos_per_million": (1, 2, 3, 4, 5),
        "debt_allowed": True,
        "estimated": False,
        "credential": "key-1",
        "labels": (("team", "search"),),
        "start_us": NOON_US,
        "hour_us": NOON_US,
        **values,
    }
    return RequestRecord(**record)  # type: ignore[arg-type]


def lease(
    lease_id: str, consumed: int, *, epoch: int = 1, closed: bool = False, close_us: int | None = None
) -> LeaseRecord:
    """A lease on the account's money."""
    return LeaseRecord(lease_id, NODE, epoch, SERVICE, UID, PotKind.MONEY, consumed, closed, close_us)


def usage(
    minute: int,
    output: int,
    *,
    service: str = SERVICE,
    uid: str = UID,
    team: str = "",
    credential: str = "key-1",
    labels: Labels = (),
    key_team: str = "",
    hour_us: int = NOON_US,
) -> tuple[AggregateKey, AggregateDelta]:
    """One settled request in that minute after noon."""
    delta = AggregateDelta(
        usage=Counts(input=2 * output, output=output),
        trial_tokens=output,
        billed_tokens=2 * output,
        cost_nanos=1_000 * output,
        request_count=1,
    )
    minute_us = NOON_US + minute * MINUTE_US
    return AggregateKey(service, uid, minute_us, team, credential, labels, key_team, hour_us), delta


def denial(
    minute: int,
    count: int,
    reason: str = "BUDGET_CONTENDED",
    *,
    service: str = SERVICE,
    team: str = "",
    credential: str = "key-1",
    key_team: str = "",
) -> tuple[DenialKey, int]:
    """So many denials in that minute after noon."""
    return DenialKey(service, UID, NOON_US + minute * MINUTE_US, team, credential, reason, key_team), count


def batch(commit_no: int, *parts: object) -> CommitBatch:
    """A batch of whatever there is."""
    aggregates, denials = [], []
    for part in parts:
        match part:
            case (AggregateKey() as usage_key, AggregateDelta() as delta):
                aggregates.append((usage_key, delta))
            case (DenialKey() as denial_key, int(count)):
                denials.append((denial_key, count))
    return CommitBatch(
        commit_no,
        requests=tuple(part for part in parts if isinstance(part, RequestRecord)),
        leases=tuple(part for part in parts if isinstance(part, LeaseRecord)),
        aggregates=tuple(aggregates),
        denials=tuple(denials),
    )


def shown(record: RequestRecord) -> ShownRecord:
    """What people see of a record."""
    return ShownRecord(*(getattr(record, name) for name in ShownRecord._fields))


async def rows(
    reader: SqlUsageReader,
    *,
    start: int = 0,
    end: int = 60,
    step: int | None = None,
    services: tuple[str, ...] = (SERVICE,),
    credential: str | None = None,
    labels: Labels = (),
    group_by: tuple[str, ...] = (),
    scope: UsageScope = WHOLE_SCOPE,
) -> list[UsageRow]:
    """What a query gives; times in minutes after noon."""
    return await reader.query_usage(
        UsageQuery(
            NOON_US + start * MINUTE_US,
            NOON_US + end * MINUTE_US,
            None if step is None else step * MINUTE_US,
            services,
            credential,
            labels,
            group_by,
            scope,
        )
    )


async def total_output(reader: SqlUsageReader) -> int:
    """Output tokens of the service in the hour after noon."""
    return sum(row.totals.usage.output for row in await rows(reader))
