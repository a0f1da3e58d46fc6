"""`tallygate reservation`: capacity by the minute, paid in advance. `tallygate service reserve` buys it."""

from __future__ import annotations

from typing import Annotated

import typer

from tallygate.cli.console import out, print_json, print_list
from tallygate.cli.names import reservation_name
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    CsvOption,
    JsonOption,
    KeyOption,
    control_channel,
    key_or_new,
)
from tallygate.cli.services import (
    DaysOption,
    InputTpmOption,
    OutputTpmOption,
    Overflow,
    OverflowOption,
    ServiceArgument,
    currency_of,
    reservation_terms,
)
from tallygate.cli.show_accounts import quote_facts, reservation_table
from tallygate.control.v1 import lifecycle_service_pb2, lifecycle_service_pb2_grpc

app = typer.Typer(help="Reservations: capacity by the minute, paid in advance.", no_args_is_help=True)

ReservationArgument = Annotated[
    str,
    typer.Argument(
        metavar="RESERVATION",
        help="acme/chat-prod/1, or accounts/acme/services/chat-prod/reservations/1",
        parser=reservation_name,
    ),
]
_Stub = lifecycle_service_pb2_grpc.LifecycleServiceStub


@app.command("list")
def list_reservations(
    service: ServiceArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists a service's reservations, the oldest first, also those that have ended."""
    request = lifecycle_service_pb2.ListReservationsRequest(inference_service=service)
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListReservations, request, "reservations")
        print_list(
            found, lambda: reservation_table(found.reservations, currency_of(channel, service)), json=json, csv=csv
        )


@app.command()
def quote(
    service: ServiceArgument,
    *,
    input_tpm: InputTpmOption,
    output_tpm: OutputTpmOption,
    days: DaysOption,
    overflow: OverflowOption = Overflow.bill,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
) -> None:
    """Says what a reservation would cost if it were bought now; `tallygate service reserve` buys it."""
    request = lifecycle_service_pb2.QuoteReservationRequest(
        inference_service=service, terms=reservation_terms(input_tpm, output_tpm, days, overflow)
    )
    with control_channel(control) as channel:
        answer = _Stub(channel).QuoteReservation(request, timeout=TIMEOUT_S)
        print_json(answer) if json else out.print(quote_facts(answer))


@app.command()
def cancel(
    reservation: ReservationArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Ends a reservation before its term is over. Nothing is refunded: `tallygate account adjust` is for that."""
    if not yes:
        typer.confirm(f"End {reservation} now, without a refund?", abort=True, err=True)
    request = lifecycle_service_pb2.CancelReservationRequest(
        name=reservation, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        ended = _Stub(channel).CancelReservation(request, timeout=TIMEOUT_S).reservation
        print_json(ended) if json else out.print(reservation_table([ended], currency_of(channel, reservation)))
