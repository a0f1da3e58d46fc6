"""The books of the two services on one inference service, read over the wire, and the balance of its account's pots."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from google.protobuf.timestamp_pb2 import Timestamp

from tallygate._channel import Channels
from tallygate.client.codec import decode_receipt
from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    ledger_pb2,
    operations_service_pb2,
    operations_service_pb2_grpc,
    pot_pb2,
)
from tallygate.metering.v1 import request_usage_pb2, usage_bucket_pb2, usage_service_pb2, usage_service_pb2_grpc
from tallygate.replay.figures import Figures
from tallygate.replay.tally import Receipts

_ADDS_UP = {
    pot_pb2.POT_KIND_MONEY,
    pot_pb2.POT_KIND_TRIAL,
    pot_pb2.POT_KIND_BUDGET_TOKENS,
    pot_pb2.POT_KIND_BUDGET_MONEY,
}
"""Kinds of pots of which capacity = available + leased + spent; what accrues has its capacity again and again."""
_PAGE = 1_000
_DAY_S = 86_400
_TIMEOUT_S = 10
_CONNECT_S = 1


@dataclass(frozen=True, slots=True)
class Books:
    """The books of one service, all of it so far."""

    aggregates: Figures
    leases: Figures
    pots: Figures
    ledger: Figures
    running: int
    """Number of requests that run now, on all metering nodes of the plan."""
    held: int
    """Number of units that open requests hold on any lease of the service."""
    unbalanced: tuple[str, ...]
    """Pots of the service and of its account's limits whose capacity is not available + leased + spent."""


class BookReader:
    """Reads from the control service and every metering node. Raises grpc.aio.AioRpcError where one does not answer."""

    def __init__(self, channels: Channels, *, control: str, metering: Sequence[str], service: str) -> None:
        self._service = service
        self._account = "/".join(service.split("/")[:2])
        self._control = channels.open_aio(control)
        self._metering = [channels.open_aio(address) for address in metering]
        self._operations = operations_service_pb2_grpc.OperationsServiceStub(self._control)
        self._accounts = account_service_pb2_grpc.AccountServiceStub(self._control)
        self._usages = [usage_service_pb2_grpc.UsageServiceStub(channel) for channel in self._metering]
        # A day on either side covers any error of the services' clocks; what was there before is subtracted anyway.
        now_s = int(time.time())
        self._range = (Timestamp(seconds=now_s - _DAY_S), Timestamp(seconds=now_s + _DAY_S))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in (self._control, *self._metering):
            await channel.close()

    async def read(self) -> Books:
        """Everything but the request records."""
        aggregates, running = await self._read_aggregates()
        leases, held = await self._read_leases()
        pots, unbalanced = await self._read_pots()
        ledger = await self._read_ledger()
        return Books(aggregates, leases, pots, ledger, running, held, unbalanced)

    async def read_records(self, run_id: str, withdrawn: Collection[str] = ()) -> Figures:
        """The records of one run's requests; those that were withdrawn are in all sums but the number of requests."""
        sums = Receipts()
        ids: set[str] = set()
        async for record in self._records():
            if record.request_id.startswith(run_id):
                ids.add(record.request_id)
                sums.add(decode_receipt(record.receipt))
        return replace(figures_of(sums), requests=len(ids.difference(withdrawn)), bookings=sums.count)

    async def _read_aggregates(self) -> tuple[Figures, int]:
        running = 0
        bucket = usage_bucket_pb2.UsageBucket()
        request = usage_service_pb2.QueryUsageRequest(
            start_time=self._range[0], end_time=self._range[1], services=[self._service]
        )
        for usage in await self._reachable():
            answer = await usage.QueryUsage(request, timeout=_TIMEOUT_S)
            running += answer.running.request_count
            # All nodes write to one database: the last one's answer is the freshest.
            bucket = answer.buckets[0] if answer.buckets else bucket
        used, payers = bucket.usage, bucket.payers
        figures = Figures(
            bookings=bucket.request_count,
            input_tokens=used.input_tokens + used.cached_input_tokens + used.cache_write_tokens,
            output_tokens=used.output_tokens + used.reasoning_tokens,
            reserved_tokens=payers.reserved_tokens,
            trial_tokens=payers.trial_tokens,
            billed_tokens=payers.billed_tokens,
            unfunded_tokens=payers.unfunded_tokens,
            overrun_tokens=bucket.overrun_tokens,
            cost_nanos=bucket.cost_nanos,
        )
        return figures, running

    async def _read_leases(self) -> tuple[Figures, int]:
        consumed: Counter[int] = Counter()
        held = 0
        token = ""
        while True:
            page = await self._operations.ListLeases(
                operations_service_pb2.ListLeasesRequest(
                    inference_service=self._service, show_closed=True, page_size=_PAGE, page_token=token
                ),
                timeout=_TIMEOUT_S,
            )
            for lease in page.leases:
                consumed[lease.pot_kind] += lease.consumed_units
                held += 0 if lease.closed else lease.held_units
            token = page.next_page_token
            if not token:
                return _by_kind(consumed, with_money=True), held

    async def _read_pots(self) -> tuple[Figures, tuple[str, ...]]:
        spent: Counter[int] = Counter()
        unbalanced: list[str] = []
        async for pot in self._pots():
            if pot.inference_service in {"", self._service}:
                spent[pot.kind] += pot.spent_units
                unbalanced += imbalances_of(pot)
        # Money belongs to the account, and other services may spend of it at the same time.
        return _by_kind(spent, with_money=False), tuple(unbalanced)

    async def _pots(self) -> AsyncIterator[pot_pb2.Pot]:
        """All pots of the account."""
        request = operations_service_pb2.ListPotsRequest(account=self._account, page_size=_PAGE)
        while True:
            page = await self._operations.ListPots(request, timeout=_TIMEOUT_S)
            for pot in page.pots:
                yield pot
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    async def _read_ledger(self) -> Figures:
        cost_nanos = 0
        token = ""
        while True:
            page = await self._accounts.ListLedgerEntries(
                account_service_pb2.ListLedgerEntriesRequest(
                    account=self._account, inference_service=self._service, page_size=_PAGE, page_token=token
                ),
                timeout=_TIMEOUT_S,
            )
            cost_nanos -= sum(
                entry.amount_nanos for entry in page.ledger_entries if entry.kind == ledger_pb2.LEDGER_ENTRY_KIND_USAGE
            )
            token = page.next_page_token
            if not token:
                return Figures(cost_nanos=cost_nanos)

    async def _reachable(self) -> Sequence[usage_service_pb2_grpc.UsageServiceAsyncStub]:
        """The nodes that can be connected to, or all if there is none: one is enough, for all have the same books."""
        answering = []
        for usage, channel in zip(self._usages, self._metering, strict=True):
            try:
                async with asyncio.timeout(_CONNECT_S):
                    await channel.channel_ready()
            except TimeoutError:
                continue
            answering.append(usage)
        return answering or self._usages

    async def _records(self) -> AsyncIterator[request_usage_pb2.RequestUsage]:
        usage = (await self._reachable())[0]
        token = ""
        while True:
            page = await usage.ListRequestUsage(
                usage_service_pb2.ListRequestUsageRequest(service=self._service, page_size=_PAGE, page_token=token),
                timeout=_TIMEOUT_S,
            )
            for record in page.request_usages:
                yield record
            token = page.next_page_token
            if not token:
                return


def figures_of(sums: Receipts) -> Figures:
    """Sums of receipts as figures."""
    return Figures(
        input_tokens=sums.tokens.input,
        output_tokens=sums.tokens.output,
        reserved_input_tokens=sums.reserved.input,
        reserved_output_tokens=sums.reserved.output,
        reserved_tokens=sums.reserved.total,
        trial_tokens=sums.trial.total,
        billed_tokens=sums.billed.total,
        unfunded_tokens=sums.unfunded.total,
        overrun_tokens=sums.overrun_tokens,
        cost_nanos=sums.cost_nanos,
    )


def imbalances_of(pot: pot_pb2.Pot) -> list[str]:
    """What is wrong with a pot, in a sentence; empty where its parts add up."""
    parts = pot.available_units + pot.leased_units + pot.spent_units
    if pot.kind not in _ADDS_UP or pot.capacity_units == parts:
        return []
    which = f" of {pot.limit_pot.limit_uid}" if pot.HasField("limit_pot") else ""
    return [f"{pot_pb2.PotKind.Name(pot.kind)}{which}: capacity {pot.capacity_units}, its parts {parts}"]


def _by_kind(units: Counter[int], *, with_money: bool) -> Figures:
    reserved_input = units[pot_pb2.POT_KIND_RESERVATION_INPUT]
    reserved_output = units[pot_pb2.POT_KIND_RESERVATION_OUTPUT]
    return Figures(
        reserved_input_tokens=reserved_input,
        reserved_output_tokens=reserved_output,
        reserved_tokens=reserved_input + reserved_output,
        trial_tokens=units[pot_pb2.POT_KIND_TRIAL],
        cost_nanos=units[pot_pb2.POT_KIND_MONEY] if with_money else None,
    )
