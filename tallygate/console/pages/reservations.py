"""Reservations: what one costs, worked out by the service before it is bought, and the end of one."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from tallygate.console.currency import currency_of
from tallygate.console.forms import FieldError
from tallygate.console.nav import Entry
from tallygate.console.reads import read_model, read_service, service_name
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import lifecycle_service_pb2 as pb
from tallygate.control.v1 import reservation_pb2
from tallygate.control.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tallygate.control.v1.reservation_pb2 import Reservation

OVERFLOWS: Final = (
    ("BILL_BY_TOKEN", "charge them by token, which enables pay-as-you-go"),
    ("REFUSE", "refuse them once no trial pays"),
)
"""Choices of what happens to tokens beyond: names of the contract, and words."""
_INT32_MAX: Final = 2**31 - 1


async def show_reserve(visit: Visit) -> Response:
    """What to buy; once that is said, what it costs and the button that buys it."""
    service = await read_service(visit)
    quote = None
    if visit.form.text("step") == "quote" and not visit.errors:
        quote = visit.request.state.quote
    return visit.page(
        "reserve.html",
        service=service,
        model=await read_model(visit, service),
        overflows=OVERFLOWS,
        quote=quote,
    )


async def reserve(visit: Visit) -> Response:
    """Work out the price of what was typed, or buy it at that price."""
    stub, terms = LifecycleServiceStub(visit.control), _terms(visit)
    request = pb.QuoteReservationRequest(inference_service=service_name(visit), terms=terms)
    quote = await stub.QuoteReservation(request)
    visit.request.state.quote = quote
    if visit.form.text("step") == "quote":
        return await show_reserve(visit)
    if visit.form.number("price_nanos", -1) != quote.price_nanos:
        raise FieldError("", "The price is another one by now. Look at it again.")
    bought = await stub.PurchaseReservation(
        pb.PurchaseReservationRequest(
            inference_service=service_name(visit), terms=terms, idempotency_key=visit.idempotency_key
        )
    )
    notice = "The reservation is bought."
    if bought.postpaid_enabled:
        notice += " Pay-as-you-go was enabled for tokens beyond it."
    return visit.done(notice, f"/{service_name(visit)}")


async def show_cancel(visit: Visit) -> Response:
    """What a cancellation does."""
    service = await read_service(visit)
    return visit.page(
        "cancel_reservation.html",
        service=service,
        reservation=await _reservation(visit),
        currency=await currency_of(visit),
    )


async def cancel(visit: Visit) -> Response:
    """End a reservation before its term is over."""
    request = pb.CancelReservationRequest(name=_name(visit), idempotency_key=visit.idempotency_key)
    await LifecycleServiceStub(visit.control).CancelReservation(request)
    return visit.done("The reservation is cancelled.", f"/{service_name(visit)}")


def _terms(visit: Visit) -> pb.ReservationTerms:
    """What was typed. Raises FieldError."""
    days = visit.form.number("terms.term_day_count")
    if abs(days) > _INT32_MAX:
        raise FieldError("terms.term_day_count", "So many days are more than a term can have.")
    policy = reservation_pb2.OverflowPolicy.DESCRIPTOR.values_by_name.get(
        f"OVERFLOW_POLICY_{visit.form.text('terms.overflow_policy')}"
    )
    return pb.ReservationTerms(
        input_tokens_per_minute=visit.form.number("terms.input_tokens_per_minute"),
        output_tokens_per_minute=visit.form.number("terms.output_tokens_per_minute"),
        term_day_count=days,
        overflow_policy=reservation_pb2.OverflowPolicy.ValueType(policy.number if policy else 0),
    )


def _name(visit: Visit) -> str:
    return f"{service_name(visit)}/reservations/{visit.request.path_params['reservation']}"


async def _reservation(visit: Visit) -> Reservation | None:
    request = pb.ListReservationsRequest(inference_service=service_name(visit))
    answer = await LifecycleServiceStub(visit.control).ListReservations(request)
    return next((one for one in answer.reservations if one.name == _name(visit)), None)


NAV: Final[tuple[Entry, ...]] = ()
ROUTES: Final = (
    at("/accounts/{account}/services/{service}/reserve", show_reserve, reserve),
    at("/accounts/{account}/services/{service}/reservations/{reservation}/cancel", show_cancel, cancel),
)
