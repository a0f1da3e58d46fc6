"""Usage: who used what, over minutes to months, who paid, and what it cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response, StreamingResponse

from tallygate._access.permission import Permission
from tallygate.console.calls import CallError
from tallygate.console.currency import currency_of
from tallygate.console.forms import FieldError
from tallygate.console.nav import Entry
from tallygate.console.routes import at
from tallygate.console.usage import PAYERS
from tallygate.console.usage_figures import Figures, UsageLines, by_payer, step_labels, tokens_of, total_of
from tallygate.console.usage_span import SPAN_DEFAULT, SPANS, STEPS, Span, halves, span_of
from tallygate.console.visit import Visit
from tallygate.control.v1 import key_service_pb2
from tallygate.control.v1.key_service_pb2_grpc import KeyServiceStub
from tallygate.metering.v1 import usage_service_pb2
from tallygate.metering.v1.usage_bucket_pb2 import UsageBucket
from tallygate.metering.v1.usage_service_pb2_grpc import UsageServiceStub

GROUPS: Final = (
    ("service", "Service"),
    ("model", "Model"),
    ("team", "Team"),
    ("credential", "API key"),
    ("key_team", "Team of the API key"),
    ("label", "Label"),
)
"""Groups that usage is shown by: names in the contract, and what people call them."""
GROUP_ROWS_MAX: Final = 200
"""Maximum number of groups on a page, those with most tokens first; the file has all."""
TOO_MANY: Final = "group_by"
"""Field by which the service says that an answer would have too many buckets."""
KEYS_MAX: Final = 1_000
"""Maximum number of API keys whose names are looked up."""
FIELDS: Final = {"services[0]": "service", "teams[0]": "team", "group_by[0]": "by", "group_by": "by"}
"""Fields of the page by those of the request that they become."""
CHOICES: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "spans": SPANS,
    "step_choices": [("", "As fits"), *((str(step_s), name) for step_s, name in STEPS)],
    "group_choices": GROUPS,
    "payers": PAYERS,
}
"""Choices as templates know them."""
_US_PER_S: Final = 1_000_000

Query = usage_service_pb2.QueryUsageRequest


async def show_usage(visit: Visit) -> Response:
    """The figures that are chosen."""
    return await _unless_refused(visit, _shown)


async def download(visit: Visit) -> Response:
    """The figures of each step and group as a file, which is sent as it is read."""
    return await _unless_refused(visit, _file)


async def _unless_refused(visit: Visit, answer: Callable[[Visit, Span], Awaitable[Response]]) -> Response:
    """The answer; what cannot be meant is said on the page beside its field, and all that was chosen is kept."""
    try:
        return await answer(visit, _span(visit))
    except FieldError as error:
        visit.refuse(error)
    except CallError as error:
        if error.code != grpc.StatusCode.INVALID_ARGUMENT:
            raise
        _refuse(visit, error)
    return visit.page("usage.html", **CHOICES, span=None)


async def _shown(visit: Visit, span: Span) -> Response:
    return visit.page("usage.html", **CHOICES, **await _figures(visit, span))


async def _file(visit: Visit, span: Span) -> Response:
    """The file, once its first buckets are there: what is refused, is refused at once."""
    read = _buckets(visit, span)
    first = await anext(read)
    headers = {"content-disposition": f'attachment; filename="usage-{visit.account_id}.csv"'}
    return StreamingResponse(_lines(_group(visit), first, read), media_type="text/csv; charset=utf-8", headers=headers)


async def _lines(
    group: str, first: Sequence[UsageBucket], read: AsyncIterator[Sequence[UsageBucket]]
) -> AsyncIterator[bytes]:
    """The file in parts, made off the loop. Where a part cannot be read the answer breaks off, and browsers say so."""
    lines = UsageLines(group)
    yield await asyncio.to_thread(lines.of, first)
    async for buckets in read:
        yield await asyncio.to_thread(lines.of, buckets)


async def _buckets(visit: Visit, span: Span) -> AsyncIterator[Sequence[UsageBucket]]:
    """All steps of all groups, in as many queries as that takes. Raises CallError."""
    query = _query(visit, span, step=True, group=True)
    try:
        answer = await UsageServiceStub(visit.metering).QueryUsage(query)
    except CallError as error:
        if span.step_count == 1 or TOO_MANY not in {path for path, _ in error.violations}:
            raise
    else:
        yield answer.buckets
        return
    for half in halves(span):
        async for buckets in _buckets(visit, half):
            yield buckets


async def _figures(visit: Visit, span: Span) -> dict[str, Any]:
    stub = UsageServiceStub(visit.metering)
    steps, groups, before, currency, keys = await asyncio.gather(
        stub.QueryUsage(_query(visit, span, step=True)),
        stub.QueryUsage(_query(visit, span, group=True)),
        stub.QueryUsage(_query(visit, Span(span.before_s, span.start_s, span.step_s, 0, goes_on=False))),
        currency_of(visit),
        _key_names(visit),
    )
    ranked = sorted(map(Figures, groups.buckets), key=lambda one: (-one.tokens, -one.denied))
    return {
        "span": span,
        "series": by_payer(span, steps.buckets),
        "labels": step_labels(span),
        "steps": [Figures(bucket) for bucket in steps.buckets],
        "total": Figures(total_of(steps)),
        "groups": ranked[:GROUP_ROWS_MAX],
        "groups_total": Figures(total_of(groups)),
        "left_out": max(0, len(ranked) - GROUP_ROWS_MAX),
        "group": _group(visit),
        "before": Figures(total_of(before)),
        "running": steps.running,
        "running_tokens": tokens_of(steps.running.usage),
        "fresh_through_time": steps.fresh_through_time,
        "currency": currency,
        "key_names": keys,
    }


def _query(visit: Visit, span: Span, *, step: bool = False, group: bool = False) -> Query:
    service, team = visit.query("service"), visit.query("team")
    return Query(
        start_time=Timestamp(seconds=span.start_s),
        end_time=Timestamp(seconds=span.end_s),
        step=Duration(seconds=span.step_s) if step else None,
        services=[f"{visit.account}/services/{service}" if service else visit.account],
        teams=[team] if team else [],
        credential=visit.query("key") or None,
        group_by=[_group(visit)] if group else [],
    )


def _group(visit: Visit) -> str:
    """What the contract calls the chosen group."""
    chosen = visit.query("by", GROUPS[0][0])
    return f"label:{visit.query('label')}" if chosen == "label" else chosen


def _span(visit: Visit) -> Span:
    if visit.query("by") == "label" and not visit.query("label"):
        raise FieldError("label", "Name the label, such as stage.")
    now_s = visit.site.clock.now_us() // _US_PER_S
    return span_of(
        visit.query("span", SPAN_DEFAULT), visit.query("step"), visit.query("since"), visit.query("until"), now_s
    )


async def _key_names(visit: Visit) -> dict[str, str]:
    """Names of API keys by their unique ids, where these are shown."""
    if visit.query("by") != "credential" or not visit.may(Permission.KEYS_READ):
        return {}
    request = key_service_pb2.ListKeysRequest(account=visit.account, page_size=KEYS_MAX)
    return {key.uid: key.name for key in (await KeyServiceStub(visit.control).ListKeys(request)).keys}


def _refuse(visit: Visit, error: CallError) -> None:
    """Take the service's refusal to heart, by the page's own fields."""
    visit.refuse(error)
    for path, problem in error.violations:
        if path in FIELDS:
            visit.errors[FIELDS[path]] = problem


NAV: Final = (Entry("Usage", "/accounts/{account}/usage", Permission.USAGE_READ),)
ROUTES: Final = (
    at("/accounts/{account}/usage", show_usage),
    at("/accounts/{account}/usage.csv", download),
)
