"""Pages of what is exported, read from both services one after the other, so that little is in memory at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.cli.pages import PAGE_SIZE, all_pages
from tallygate.cli.patient_node import PatientNode
from tallygate.cli.rpc import TIMEOUT_S, control_channel, fail, metering_addresses, metering_channel, sentence
from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    ledger_pb2,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
    statement_pb2,
)
from tallygate.export.aggregates import GROUPS
from tallygate.export.focus import Bill
from tallygate.metering.v1 import (
    request_usage_pb2,
    usage_bucket_pb2,
    usage_service_pb2,
)

MINUTE_S: Final = 60
DAY_S: Final = 86_400
SERVICES_AT_ONCE: Final = 2
"""Number of services whose records are read in turn."""
STEPS_AT_ONCE: Final = 1_440
"""Number of steps that are asked for at a time, unless there are too many buckets in them."""


@dataclass(frozen=True, slots=True)
class Span:
    """From its start, closed, to its end, open."""

    start: Timestamp
    end: Timestamp


class Source:
    """The usage and the costs of an account, or of one service. `name`: as in the contract."""

    def __init__(self, name: str, control: str, metering: list[str] | None) -> None:
        self._name = name
        self._control = control
        self._metering = metering_addresses(metering)[0]

    def records(self, span: Span) -> Iterator[Sequence[request_usage_pb2.RequestUsage]]:
        """Records that were settled in the span; those of one service in order of their ids, of a few in turn."""
        services = [self._name] if "/services/" in self._name else self._services(span)
        firsts = (
            usage_service_pb2.ListRequestUsageRequest(
                service=service, page_size=PAGE_SIZE, settle_start_time=span.start, settle_end_time=span.end
            )
            for service in services
        )
        with metering_channel(self._metering) as channel:
            yield from _record_pages(PatientNode(channel), firsts)

    def aggregates(
        self, span: Span, step: Duration, labels: Sequence[str]
    ) -> Iterator[Sequence[usage_bucket_pb2.UsageBucket]]:
        """Sums by step and by all that aggregates are told apart by, of the minutes that begin in the span."""
        return self._buckets(span, step, (*GROUPS, *(f"label:{key}" for key in labels)))

    def days(self, start: Timestamp, end: Timestamp) -> Iterator[Sequence[usage_bucket_pb2.UsageBucket]]:
        """Sums by day, service and team. What is old is kept by hours and days of UTC, and by no other clock's."""
        remedy = "give --time-zone UTC, whose days are always kept" if start.seconds % DAY_S else ""
        return self._buckets(Span(start, end), Duration(seconds=DAY_S), ("service", "team"), remedy)

    def bill(self, month: str, time_zone: str, provider: str) -> tuple[Bill, list[statement_pb2.StatementLine]]:
        """Whose costs they are, of which month, and the reservations that were bought in it."""
        with control_channel(self._control) as channel:
            stub = account_service_pb2_grpc.AccountServiceStub(channel)
            asked = account_service_pb2.GetAccountRequest(name=self._name)
            account = stub.GetAccount(asked, timeout=TIMEOUT_S).account
            request = account_service_pb2.GetStatementRequest(account=self._name, month=month, time_zone=time_zone)
            statement = stub.GetStatement(request, timeout=TIMEOUT_S).statement
        bought = [line for line in statement.lines if line.kind == ledger_pb2.LEDGER_ENTRY_KIND_RESERVATION]
        names = account.name, account.display_name or account.name
        bill = Bill(*names, account.currency_code, statement.start_time, statement.end_time, provider)
        return bill, bought

    def models(self) -> dict[str, str]:
        """The models of the account's services, by name; deleted services included."""
        account = self._name.partition("/services/")[0]
        request = lifecycle_service_pb2.ListInferenceServicesRequest(account=account, show_deleted=True)
        with control_channel(self._control) as channel:
            stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
            found = all_pages(stub.ListInferenceServices, request, "inference_services").inference_services
        return {one.name: one.model for one in found}

    def _services(self, span: Span) -> list[str]:
        """Names of the services that have records of the span."""
        # By whole days, which are always kept. The last one is over after the span: sums of a minute have what was
        # settled at the end of the minute before.
        days = Span(
            Timestamp(seconds=span.start.seconds // DAY_S * DAY_S),
            Timestamp(seconds=(span.end.seconds // DAY_S + 1) * DAY_S),
        )
        found = self._buckets(days, Duration(seconds=DAY_S), ("service",), "export its services one by one")
        return sorted({bucket.group["service"] for buckets in found for bucket in buckets})

    def _buckets(
        self, span: Span, step: Duration, groups: Sequence[str], remedy: str = ""
    ) -> Iterator[Sequence[usage_bucket_pb2.UsageBucket]]:
        """Asks for many steps at a time, and for half as many wherever there are too many buckets in them.

        From minute to minute, since a node widens a range to whole ones: a minute that is cut would be in two answers.
        `remedy`: of what a node refuses however few steps are asked for.
        """
        start_s, end_s = (moment.seconds // MINUTE_S * MINUTE_S for moment in (span.start, span.end))
        # No more than there are: half of those would be as many once more.
        steps = min(STEPS_AT_ONCE, (end_s - start_s) // max(step.seconds, 1) + 1)
        with metering_channel(self._metering) as channel:
            node = PatientNode(channel)
            call = node.stub.QueryUsage
            while start_s < end_s:
                until_s = min(end_s, start_s + steps * step.seconds)
                request = usage_service_pb2.QueryUsageRequest(
                    services=[self._name],
                    start_time=Timestamp(seconds=start_s),
                    end_time=Timestamp(seconds=until_s),
                    step=step,
                    group_by=groups,
                )
                try:
                    buckets = node.answer(call, request, node.ask(call, request)).buckets
                except grpc.RpcError as error:
                    if error.code() == grpc.StatusCode.INVALID_ARGUMENT and steps > 1:
                        steps //= 2
                        continue
                    if error.code() == grpc.StatusCode.INVALID_ARGUMENT and remedy:
                        fail(f"{sentence(error, 'the node')}; {remedy}")
                    raise
                yield buckets
                start_s = until_s


def _record_pages(
    node: PatientNode, firsts: Iterator[usage_service_pb2.ListRequestUsageRequest]
) -> Iterator[Sequence[request_usage_pb2.RequestUsage]]:
    """Pages of a few services in turn. While one is written others are on their way, so that the node never waits."""
    call = node.stub.ListRequestUsage
    coming = deque((first, node.ask(call, first)) for first in islice(firsts, SERVICES_AT_ONCE))
    while coming:
        wanted, on_its_way = coming.popleft()
        page: usage_service_pb2.ListRequestUsageResponse = node.answer(call, wanted, on_its_way)
        if page.next_page_token:
            wanted.page_token = page.next_page_token
        more = [wanted] if page.next_page_token else islice(firsts, 1)
        coming.extend((each, node.ask(call, each)) for each in more)
        yield page.request_usages
