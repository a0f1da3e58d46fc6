"""The total of an answer about usage, so that nobody adds up what is grouped, stepped or cut."""

from collections import Counter
from collections.abc import Sequence

from metering_service.domain.counts import ZERO
from metering_service.domain.records import AggregateDelta
from metering_service.usecases.ports import UsageQuery, UsageRow


def total_of(query: UsageQuery, rows: Sequence[UsageRow]) -> UsageRow:
    """All that the rows say, over the whole range of the query; of no group."""
    denials: Counter[str] = Counter()
    for row in rows:
        denials.update(dict(row.denials))
    totals = [row.totals for row in rows]
    return UsageRow(
        start_us=query.start_us,
        end_us=query.end_us,
        group=(),
        totals=AggregateDelta(
            usage=sum((one.usage for one in totals), start=ZERO),
            reserved_tokens=sum(one.reserved_tokens for one in totals),
            trial_tokens=sum(one.trial_tokens for one in totals),
            billed_tokens=sum(one.billed_tokens for one in totals),
            unfunded_tokens=sum(one.unfunded_tokens for one in totals),
            overrun_tokens=sum(one.overrun_tokens for one in totals),
            cost_nanos=sum(one.cost_nanos for one in totals),
            debt_nanos=sum(one.debt_nanos for one in totals),
            request_count=sum(one.request_count for one in totals),
        ),
        denials=tuple(sorted(denials.items())),
    )
