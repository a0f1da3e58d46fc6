"""UsageService over a database in which there is more than fits into a message."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from metering_service.api.errors import translate
from metering_service.api.usage_servicer import UsageServicer
from metering_service.domain.counts import ZERO
from metering_service.domain.denial_log import DenialLog
from metering_service.domain.records import AggregateDelta, ShownRecord
from metering_service.domain.usage_scope import UsageScope
from metering_service.usecases.ports import Running, Settled, UsageQuery, UsageRow
from tallygate._server.grpc.server import GrpcServer
from tallygate.metering.v1 import usage_service_pb2 as pb
from tallygate.metering.v1 import usage_service_pb2_grpc
from tests.harness.metering.records import SERVICE, settled_request, shown

EMOJI = "\U0001f600"
LABELS = tuple((f"{number:04}" + EMOJI * 15, EMOJI * 16) for number in range(8))


class Reader:
    """Has so many buckets and records, each as large as may be."""

    def __init__(self, count: int) -> None:
        self.rows = [
            UsageRow(number, number + 1, tuple((f"label:{key}", value) for key, value in LABELS), AggregateDelta(), ())
            for number in range(count)
        ]
        record = shown(settled_request("r"))._replace(labels=LABELS, credential=EMOJI * 64)
        self.records = [record._replace(request_id=f"{number:064}", part=f"{number}") for number in range(count)]

    async def query_usage(self, _query: UsageQuery) -> list[UsageRow]:
        return self.rows

    async def unused(self, _names: Sequence[str], _scope: UsageScope) -> list[str]:
        return []

    async def request_parts(self, _service: str, _request_id: str, _scope: UsageScope) -> list[ShownRecord]:
        return self.records

    async def parts_in_account(self, _account: str, _request_id: str, _scope: UsageScope) -> list[ShownRecord]:
        return self.records

    async def list_requests(
        self, _service: str, after: tuple[str, str] | None, limit: int, _scope: UsageScope, _settled: Settled
    ) -> Sequence[ShownRecord]:
        start = int(after[1]) + 1 if after is not None else 0
        return self.records[start : start + limit]


@asynccontextmanager
async def serving(reader: Reader) -> AsyncIterator[Any]:
    """A stub of the service over such a database."""
    servicer = UsageServicer(reader, lambda _services, _scope: Running(0, ZERO), lambda: 0, DenialLog(0))
    server = GrpcServer(
        listen="127.0.0.1:0",
        insecure=False,
        service_names=[],
        add_servicers=lambda it: usage_service_pb2_grpc.add_UsageServiceServicer_to_server(servicer, it),
        translate=translate,
    )
    address = await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield usage_service_pb2_grpc.UsageServiceStub(channel)
    finally:
        await server.stop(0)


async def test_records_come_in_pages_that_fit() -> None:
    """Fewer than were asked for, where they are large; each once."""
    reader = Reader(2_500)
    async with serving(reader) as stub:
        request, ids, pages = pb.ListRequestUsageRequest(service=SERVICE, page_size=1_000), [], 0
        while pages == 0 or request.page_token:
            page = await stub.ListRequestUsage(request)
            ids += [record.request_id for record in page.request_usages]
            request.page_token, pages = page.next_page_token, pages + 1
    assert ids == [record.request_id for record in reader.records]
    assert pages > 3


async def test_as_many_parts_of_a_request_as_fit_are_shown() -> None:
    """Of one whose id was used again and again, the first ones."""
    reader = Reader(3_000)
    async with serving(reader) as stub:
        answer = await stub.GetRequestUsage(pb.GetRequestUsageRequest(service=SERVICE, request_id="r"))
    shown = [part.request_id for part in answer.parts]
    assert len(shown) > 300
    assert shown == [record.request_id for record in reader.records][: len(shown)]


@pytest.mark.parametrize(("count", "fits"), [(1_500, True), (9_000, False)])
async def test_more_usage_than_fits_is_refused_with_a_way_out(count: int, fits: bool) -> None:
    """INVALID_ARGUMENT, as for too many buckets."""
    request = pb.QueryUsageRequest(start_time=Timestamp(), end_time=Timestamp(seconds=60), services=[SERVICE])
    async with serving(Reader(count)) as stub:
        if fits:
            assert len((await stub.QueryUsage(request)).buckets) == count
            return
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.QueryUsage(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (
        caught.value.details() == "group_by: gives more than fits into an answer: group by less, or take longer steps"
    )


async def test_a_label_that_nothing_has_is_no_group() -> None:
    """Its key would be in every bucket."""
    request = pb.QueryUsageRequest(start_time=Timestamp(), end_time=Timestamp(seconds=60), services=[SERVICE])
    async with serving(Reader(1)) as stub:
        await stub.QueryUsage(pb.QueryUsageRequest(**_fields(request), group_by=["label:" + "k" * 64]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.QueryUsage(pb.QueryUsageRequest(**_fields(request), group_by=["label:" + "k" * 65]))
    assert (caught.value.details() or "").startswith("group_by[0]: must be ")


def _fields(message: pb.QueryUsageRequest) -> dict[str, Any]:
    return {field.name: value for field, value in message.ListFields()}
