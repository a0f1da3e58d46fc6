"""LifecycleService."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from google.protobuf.message import Message
from typing_extensions import override

from control_service.api import lifecycle_codec as codec
from control_service.api.calls import Calls, Context, Incoming
from control_service.api.fields import INT64_MAX, Fields
from control_service.api.model_offer_codec import encode_model_offer
from control_service.api.paging import decode_page
from control_service.api.service_codec import encode_event, encode_reservation, encode_service
from control_service.domain.account import Account
from control_service.domain.service import ServiceView
from control_service.domain.service_action import OfferedService
from control_service.usecases.idempotent_call import Act
from control_service.usecases.people.lifecycle import (
    PurchaseView,
    Step,
    cancel_reservation,
    change_service,
    create_with_billing,
    purchase_reservation,
    quote_reservation,
)
from control_service.usecases.people.model_offers import OfferQuery, list_model_offers, with_offer, with_offers
from control_service.usecases.people.service_list import ServiceQuery, key_of, list_services
from control_service.usecases.people.services import delete_service, find_service, get_service, update_service
from control_service.usecases.people.switches import disable_postpaid, enable_postpaid, set_suspended
from control_service.usecases.people.teams import require_unmoved
from control_service.usecases.people.trial_claim import claim_trial
from control_service.usecases.ports import Database, Transaction
from tallygate._access.permission import Permission
from tallygate._access.scope import Scope
from tallygate._server.clock import Clock
from tallygate._server.grpc.caller import current_caller
from tallygate._server.grpc.paging import encode_page, encode_page_token
from tallygate.control.v1 import lifecycle_service_pb2 as pb
from tallygate.control.v1 import lifecycle_service_pb2_grpc

Result = TypeVar("Result")


class LifecycleServicer(lifecycle_service_pb2_grpc.LifecycleServiceServicer):
    """The life of inference services."""

    def __init__(self, database: Database, clock: Clock, calls: Calls) -> None:
        self._database = database
        self._clock = clock
        self._calls = calls

    @override
    async def CreateInferenceService(
        self, request: pb.CreateInferenceServiceRequest, context: Context
    ) -> pb.CreateInferenceServiceResponse:
        account_id, new, billing = codec.decode_create(request)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: _offered(tx, create_with_billing(tx, account, new, billing, act), act),
            _showing(pb.CreateInferenceServiceResponse),
        )
        return pb.CreateInferenceServiceResponse.FromString(response)

    @override
    async def GetInferenceService(
        self, request: pb.GetInferenceServiceRequest, context: Context
    ) -> pb.GetInferenceServiceResponse:
        with Fields() as fields:
            account_id, service_id = fields.service("name", request.name)
        async with self._database.reading() as tx:
            now_us = self._clock.now_us()
            offered = await with_offer(tx, await get_service(tx, account_id, service_id, now_us), now_us)
        return pb.GetInferenceServiceResponse(inference_service=encode_service(offered))

    @override
    async def ListInferenceServices(
        self, request: pb.ListInferenceServicesRequest, context: Context
    ) -> pb.ListInferenceServicesResponse:
        with Fields() as fields:
            wanted, status = codec.decode_list(fields, request)
            after, limit = decode_page(fields, request, (wanted.account_id or "", ""))
        async with self._database.reading() as tx:
            now_us = self._clock.now_us()
            page = await list_services(tx, ServiceQuery(wanted, status, after, limit), now_us)
            offered = await with_offers(tx, page.services, now_us)
        services, token = encode_page(request, offered, limit, encode_service, lambda one: key_of(one.view.service))
        if not token and page.next_after is not None:
            token = encode_page_token(request, page.next_after)
        return pb.ListInferenceServicesResponse(inference_services=services, next_page_token=token)

    @override
    async def UpdateInferenceService(
        self, request: pb.UpdateInferenceServiceRequest, context: Context
    ) -> pb.UpdateInferenceServiceResponse:
        _, update = codec.decode_update(request)
        response = await self._change(
            Incoming(request, context),
            lambda tx, _account, service, act: update_service(tx, service, update, act),
            pb.UpdateInferenceServiceResponse,
        )
        return pb.UpdateInferenceServiceResponse.FromString(response)

    @override
    async def DeleteInferenceService(
        self, request: pb.DeleteInferenceServiceRequest, context: Context
    ) -> pb.DeleteInferenceServiceResponse:
        response = await self._change(Incoming(request, context), delete_service, pb.DeleteInferenceServiceResponse)
        return pb.DeleteInferenceServiceResponse.FromString(response)

    @override
    async def ClaimFreeTrial(self, request: pb.ClaimFreeTrialRequest, context: Context) -> pb.ClaimFreeTrialResponse:
        response = await self._change(Incoming(request, context), claim_trial, pb.ClaimFreeTrialResponse)
        return pb.ClaimFreeTrialResponse.FromString(response)

    @override
    async def EnablePostpaid(self, request: pb.EnablePostpaidRequest, context: Context) -> pb.EnablePostpaidResponse:
        response = await self._change(Incoming(request, context), enable_postpaid, pb.EnablePostpaidResponse)
        return pb.EnablePostpaidResponse.FromString(response)

    @override
    async def DisablePostpaid(self, request: pb.DisablePostpaidRequest, context: Context) -> pb.DisablePostpaidResponse:
        response = await self._change(Incoming(request, context), disable_postpaid, pb.DisablePostpaidResponse)
        return pb.DisablePostpaidResponse.FromString(response)

    @override
    async def PurchaseReservation(
        self, request: pb.PurchaseReservationRequest, context: Context
    ) -> pb.PurchaseReservationResponse:
        with Fields() as fields:
            account_id, service_id = fields.service("inference_service", request.inference_service)
            terms = codec.decode_terms(fields, "terms", request.terms)

        async def bought(tx: Transaction, account: Account, act: Act) -> tuple[PurchaseView, OfferedService]:
            view = await purchase_reservation(tx, account, service_id, terms, act)
            return view, await with_offer(tx, view.service, act.now_us)

        response = await self._of_service(
            Incoming(request, context), (account_id, service_id), bought, lambda found: codec.encode_purchased(*found)
        )
        return pb.PurchaseReservationResponse.FromString(response)

    @override
    async def QuoteReservation(
        self, request: pb.QuoteReservationRequest, context: Context
    ) -> pb.QuoteReservationResponse:
        with Fields() as fields:
            account_id, service_id = fields.service("inference_service", request.inference_service)
            terms = codec.decode_terms(fields, "terms", request.terms)
        async with self._database.reading() as tx:
            quote, account = await quote_reservation(tx, account_id, service_id, terms, self._clock.now_us())
        return codec.encode_quote(quote, account)

    @override
    async def CancelReservation(
        self, request: pb.CancelReservationRequest, context: Context
    ) -> pb.CancelReservationResponse:
        with Fields() as fields:
            account_id, service_id, number = fields.reservation("name", request.name)
        response = await self._of_service(
            Incoming(request, context),
            (account_id, service_id),
            lambda tx, account, act: cancel_reservation(tx, account, service_id, number, act),
            lambda cancelled: pb.CancelReservationResponse(reservation=encode_reservation(cancelled, cancelled.end_us)),
        )
        return pb.CancelReservationResponse.FromString(response)

    @override
    async def ListReservations(
        self, request: pb.ListReservationsRequest, context: Context
    ) -> pb.ListReservationsResponse:
        with Fields() as fields:
            account_id, service_id = fields.service("inference_service", request.inference_service)
            (after,), limit = decode_page(fields, request, (0,))
        async with self._database.reading() as tx:
            await find_service(tx, await tx.accounts.get(account_id), service_id)
            found = await tx.reservations.page(account_id, service_id, after, limit + 1)
        now_us = self._clock.now_us()
        page, token = encode_page(
            request,
            found,
            limit,
            lambda reservation: encode_reservation(reservation, now_us),
            lambda reservation: (reservation.reservation_number,),
        )
        return pb.ListReservationsResponse(reservations=page, next_page_token=token)

    @override
    async def SuspendInferenceService(
        self, request: pb.SuspendInferenceServiceRequest, context: Context
    ) -> pb.SuspendInferenceServiceResponse:
        step = partial(set_suspended, suspended=True)
        response = await self._change(Incoming(request, context), step, pb.SuspendInferenceServiceResponse)
        return pb.SuspendInferenceServiceResponse.FromString(response)

    @override
    async def ResumeInferenceService(
        self, request: pb.ResumeInferenceServiceRequest, context: Context
    ) -> pb.ResumeInferenceServiceResponse:
        step = partial(set_suspended, suspended=False)
        response = await self._change(Incoming(request, context), step, pb.ResumeInferenceServiceResponse)
        return pb.ResumeInferenceServiceResponse.FromString(response)

    @override
    async def ListModelOffers(self, request: pb.ListModelOffersRequest, context: Context) -> pb.ListModelOffersResponse:
        rights = current_caller().rights
        with Fields() as fields:
            account_id = fields.account("account", request.account)
            (after,), limit = decode_page(fields, request, ("",))
            called = fields.text("called", request.called)
        sight = rights.sight(Permission.SERVICES_READ)
        async with self._database.reading() as tx:
            query = OfferQuery(account_id, sight, after, limit + 1, called)
            offers = await list_model_offers(tx, query, self._clock.now_us())
        page, token = encode_page(request, offers, limit, encode_model_offer, lambda view: (view.offer.model.model_id,))
        return pb.ListModelOffersResponse(
            model_offers=page,
            next_page_token=token,
            may_create_services=rights.allows_within(Permission.SERVICES_MANAGE, Scope(account_id)),
        )

    @override
    async def ListServiceEvents(
        self, request: pb.ListServiceEventsRequest, context: Context
    ) -> pb.ListServiceEventsResponse:
        with Fields() as fields:
            account_id, service_id = fields.service("inference_service", request.inference_service)
            (after,), limit = decode_page(fields, request, (INT64_MAX if request.newest_first else 0,))
        async with self._database.reading() as tx:
            await find_service(tx, await tx.accounts.get(account_id), service_id)
            newest_first = request.newest_first
            events = await tx.events.page(account_id, service_id, after, limit + 1, newest_first=newest_first)
        page, token = encode_page(request, events, limit, encode_event, lambda event: (event.event_number,))
        return pb.ListServiceEventsResponse(service_events=page, next_page_token=token)

    async def _change(self, incoming: Incoming, step: Step, response: Callable[..., Message]) -> bytes:
        """Applies one step to the service whose `name` the request has."""
        with Fields() as fields:
            account_id, service_id = fields.service("name", incoming.request.name)
        return await self._of_service(
            incoming,
            (account_id, service_id),
            lambda tx, account, act: _offered(tx, change_service(tx, account, service_id, step, act), act),
            _showing(response),
        )

    async def _of_service(
        self,
        incoming: Incoming,
        key: tuple[str, str],
        change: Callable[[Transaction, Account, Act], Awaitable[Result]],
        encode: Callable[[Result], Message],
    ) -> bytes:
        """Changes something of one service, if it is still in the team that the gate saw it in."""
        (account_id, service_id), admission = key, current_caller().admission

        async def changed(tx: Transaction, account: Account, act: Act) -> Result:
            await require_unmoved(tx, account_id, service_id, admission)
            return await change(tx, account, act)

        return await self._calls.of_account(incoming, account_id, changed, encode)


async def _offered(tx: Transaction, change: Awaitable[ServiceView], act: Act) -> OfferedService:
    """The service after a change, with what its model offers."""
    return await with_offer(tx, await change, act.now_us)


def _showing(response: Callable[..., Message]) -> Callable[[OfferedService], Message]:
    """An encoder of responses whose one field is the service."""
    return lambda offered: response(inference_service=encode_service(offered))
