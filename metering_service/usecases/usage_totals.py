"""Totals of an answer about usage: of each group and of all, so that nobody adds up what may be on several pages."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from metering_service.domain.counts import ZERO
from metering_service.domain.records import AggregateDelta
from metering_service.usecases.ports import UsageQuery, UsageRow

Group = tuple[tuple[str, str], ...]


def total_of(query: UsageQuery, rows: Iterable[UsageRow]) -> UsageRow:
    """All that the rows say, over the whole range of the query; of no group."""
    return _added(query, (), list(rows))


def group_totals(query: UsageQuery, rows: Iterable[UsageRow]) -> list[UsageRow]:
    """What the rows say of each group, over the whole range of the query, in order of group."""
    by_group: defaultdict[Group, list[UsageRow]] = defaultdict(list)
    for row in rows:
        by_group[row.group].append(row)
    return [_added(query, group, by_group[group]) for group in sorted(by_group)]


def _added(query: UsageQuery, group: Group, rows: list[UsageRow]) -> UsageRow:
    denials: Counter[str] = Counter()
    for row in rows:
        denials.update(dict(row.denials))
    totals = [row.totals for row in rows]
    return UsageRow(
        start_us=query.start_us,
        end_us=query.end_us,
        group=group,
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
