"""UsageService: what was used."""

from collections.abc import Callable

import grpc
from typing_extensions import override

from metering_service.api.usage_codec import encode_bucket, encode_denial, encode_request_usage_into, encode_running
from metering_service.api.usage_request import decode_explained, decode_page, decode_request_key, decode_usage_query
from metering_service.domain.denial_log import DenialLog
from metering_service.domain.errors import InvalidRequestError, RecordNotFoundError
from metering_service.domain.usage_scope import UsageScope
from metering_service.usecases.ports import Running, UsageReader
from metering_service.usecases.usage_totals import total_of
from tallygate._access.permission import Permission
from tallygate._access.rights import Sight
from tallygate._server.grpc.caller import current_caller
from tallygate._server.grpc.message_size import ANSWER_BYTES_MAX, fill, fitting
from tallygate._server.grpc.paging import encode_page_token
from tallygate._wire.times import encode_timestamp
from tallygate.metering.v1 import usage_service_pb2 as pb
from tallygate.metering.v1 import usage_service_pb2_grpc


class UsageServicer(usage_service_pb2_grpc.UsageServiceServicer):
    """Decodes, calls, encodes. Each figure is of what the caller sees; of anything else it is as if it were not there.

    `running` says what runs on this node of the services and accounts given, in a scope. `fresh_through_us` is a time
    before which everything that this node booked is committed.
    """

    def __init__(
        self,
        reader: UsageReader,
        running: Callable[[tuple[str, ...], UsageScope], Running],
        fresh_through_us: Callable[[], int],
        denial_log: DenialLog,
    ) -> None:
        self._reader = reader
        self._running = running
        self._fresh_through_us = fresh_through_us
        self._denial_log = denial_log

    @override
    async def QueryUsage(
        self, request: pb.QueryUsageRequest, context: "grpc.aio.ServicerContext[pb.QueryUsageRequest, object]"
    ) -> pb.QueryUsageResponse:
        """Answer sums by step and group, with what runs now and how fresh they are."""
        query = decode_usage_query(request, _sight())
        # First the watermark, last what runs: so the answer is at least as fresh as it says, and what it has in a
        # bucket is not said to run.
        fresh_through_us = self._fresh_through_us()
        rows = await self._reader.query_usage(query)
        unused = await self._reader.unused(query.services, query.scope)
        buckets = fitting(rows, encode_bucket, ANSWER_BYTES_MAX)
        if len(buckets) < len(rows):
            raise InvalidRequestError(
                ("group_by", "gives more than fits into an answer: group by less, or take longer steps")
            )
        return pb.QueryUsageResponse(
            buckets=buckets,
            total=encode_bucket(total_of(query, rows)),
            running=encode_running(self._running(query.services, query.scope)),
            fresh_through_time=encode_timestamp(fresh_through_us),
            unused_names=unused,
        )

    @override
    async def GetRequestUsage(
        self, request: pb.GetRequestUsageRequest, context: "grpc.aio.ServicerContext[pb.GetRequestUsageRequest, object]"
    ) -> pb.GetRequestUsageResponse:
        """Answer all parts of one request; NOT_FOUND where there is no record of it."""
        service, request_id = decode_request_key(request)
        parts = await self._reader.request_parts(service, request_id, UsageScope(_sight()))
        if not parts:
            raise RecordNotFoundError(f"{service}/requests/{request_id}")
        response = pb.GetRequestUsageResponse()
        fill(response.parts, parts, encode_request_usage_into)
        return response

    @override
    async def ExplainRequest(
        self, request: pb.ExplainRequestRequest, context: "grpc.aio.ServicerContext[pb.ExplainRequestRequest, object]"
    ) -> pb.ExplainRequestResponse:
        """Answer what is on record of a request, and which denials of it this node remembers."""
        account, request_id = decode_explained(request)
        scope = UsageScope(_sight())
        parts = await self._reader.parts_in_account(account, request_id, scope)
        teams = scope.teams_of(account)
        denials = (
            denial
            for denial in self._denial_log.find(f"{account}/services/", request_id)
            if teams is None or denial.team in teams
        )
        response = pb.ExplainRequestResponse(
            denials=fitting(denials, encode_denial),
            denials_known_since_time=encode_timestamp(self._denial_log.known_since_us),
        )
        fill(response.parts, parts, encode_request_usage_into)
        return response

    @override
    async def ListRequestUsage(
        self,
        request: pb.ListRequestUsageRequest,
        context: "grpc.aio.ServicerContext[pb.ListRequestUsageRequest, object]",
    ) -> pb.ListRequestUsageResponse:
        """Answer one page of a service's records."""
        wanted = decode_page(request)
        scope = UsageScope(_sight())
        found = await self._reader.list_requests(wanted.service, wanted.after, wanted.size + 1, scope, wanted.settled)
        response = pb.ListRequestUsageResponse()
        count = fill(response.request_usages, found[: wanted.size], encode_request_usage_into)
        if count < len(found):
            last = found[count - 1]
            response.next_page_token = encode_page_token(request, (last.request_id, last.part))
        return response


def _sight() -> Sight:
    """Where the caller may read usage."""
    return current_caller().rights.sight(Permission.USAGE_READ)
