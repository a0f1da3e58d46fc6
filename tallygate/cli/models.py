"""`tallygate model`: the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.cli.console import facts, literal, out, print_json, print_list
from tallygate.cli.model_import import import_prices
from tallygate.cli.moments import parse_moment
from tallygate.cli.money import parse_price
from tallygate.cli.names import account_name, model_name, price_name
from tallygate.cli.numbers import DAYS_MAX, INT64_MAX
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
from tallygate.cli.show import model_facts, price_text, time_text
from tallygate.cli.show_models import model_table, offer_table, price_table
from tallygate.control.v1 import (
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
    model_pb2,
)

app = typer.Typer(help="Models and their prices.", no_args_is_help=True)
app.command("import")(import_prices)

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="llama, or models/llama", parser=model_name)]
OutputMaxOption = Annotated[
    int | None,
    typer.Option(help="The most output of one answer; 0: not known, which is the default.", min=0, max=INT64_MAX),
]
WholeOutputOption = Annotated[
    int | None,
    typer.Option(
        help="Output held for an answer that comes as a whole and names no limit; default 4096.", min=1, max=INT64_MAX
    ),
]
_DAY_S = 86_400
_Stub = catalog_service_pb2_grpc.CatalogServiceStub


@app.command()
def create(
    model: ModelArgument,
    *,
    display_name: Annotated[str, typer.Option(help="A name for people.")] = "",
    alias: Annotated[list[str] | None, typer.Option(help="Its name as inference servers spell it; repeatable.")] = None,
    currency: Annotated[str, typer.Option(help="ISO 4217 code of its prices.")] = "USD",
    trial_tokens: Annotated[int | None, typer.Option(help="What a free trial gives.", min=1, max=INT64_MAX)] = None,
    trial_days: Annotated[
        int | None, typer.Option(help="How long a trial lasts; without: no end.", min=1, max=DAYS_MAX)
    ] = None,
    reserved_input: Annotated[
        int | None,
        typer.Option(metavar="AMOUNT", parser=parse_price, help="Price of 1,000 reserved input TPM for a day."),
    ] = None,
    reserved_output: Annotated[
        int | None,
        typer.Option(metavar="AMOUNT", parser=parse_price, help="Price of 1,000 reserved output TPM for a day."),
    ] = None,
    smallest_request_tokens: Annotated[
        int | None,
        typer.Option(help="A trial with less left than this is exhausted; default 16.", min=1, max=INT64_MAX),
    ] = None,
    output_tokens_max: OutputMaxOption = None,
    whole_output_tokens: WholeOutputOption = None,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Adds a model; every account then has a default service for it."""
    if trial_days is not None and trial_tokens is None:
        raise typer.BadParameter("--trial-days needs --trial-tokens")
    if (reserved_input is None) != (reserved_output is None):
        raise typer.BadParameter("give --reserved-input and --reserved-output, or neither; 0 is a price")
    request = catalog_service_pb2.CreateModelRequest(
        name=model,
        display_name=display_name,
        aliases=alias or [],
        currency_code=currency,
        smallest_request_tokens=smallest_request_tokens,
        output_tokens_max=output_tokens_max,
        whole_output_tokens_default=whole_output_tokens,
        idempotency_key=key_or_new(idempotency_key),
    )
    if trial_tokens is not None:
        request.trial_offer.quota_tokens = trial_tokens
        if trial_days is not None:
            request.trial_offer.valid_for.CopyFrom(Duration(seconds=trial_days * _DAY_S))
    if reserved_input is not None and reserved_output is not None:
        request.reservation_price.CopyFrom(
            model_pb2.ReservationPrice(
                input_nanos_per_thousand_tpm_day=reserved_input, output_nanos_per_thousand_tpm_day=reserved_output
            )
        )
    with control_channel(control) as channel:
        made = _Stub(channel).CreateModel(request, timeout=TIMEOUT_S).model
        print_json(made) if json else out.print(model_facts(made))


@app.command("list")
def list_models(
    *,
    alias: Annotated[str, typer.Option(help="Only the model that inference servers call so.")] = "",
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists the models and what they cost now."""
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListModels, catalog_service_pb2.ListModelsRequest(alias=alias), "models")
        print_list(found, lambda: model_table(found.models), json=json, csv=csv)


@app.command()
def offers(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="acme, or accounts/acme", parser=account_name)],
    *,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists the models as an account sees them: its free trial, its default service, and what you may do about that."""
    request = lifecycle_service_pb2.ListModelOffersRequest(account=account)
    with control_channel(control) as channel:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        found = all_pages(stub.ListModelOffers, request, "model_offers")
        print_list(found, lambda: offer_table(found.model_offers), json=json, csv=csv)


@app.command()
def show(model: ModelArgument, *, control: ControlOption = DEFAULT_CONTROL, json: JsonOption = False) -> None:
    """Shows a model."""
    with control_channel(control) as channel:
        found = _Stub(channel).GetModel(catalog_service_pb2.GetModelRequest(name=model), timeout=TIMEOUT_S).model
        print_json(found) if json else out.print(model_facts(found))


@app.command()
def prices(
    model: ModelArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists a model's price versions, the newest first."""
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListPrices, catalog_service_pb2.ListPricesRequest(model=model), "prices")
        of = catalog_service_pb2.GetModelRequest(name=model)
        print_list(
            found,
            lambda: price_table(found.prices, _Stub(channel).GetModel(of, timeout=TIMEOUT_S).model.currency_code),
            json=json,
            csv=csv,
        )


@app.command()
def update(
    model: ModelArgument,
    *,
    output_tokens_max: OutputMaxOption = None,
    whole_output_tokens: WholeOutputOption = None,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Changes the settings that are given, and leaves the others."""
    request = catalog_service_pb2.UpdateModelRequest(
        name=model,
        output_tokens_max=output_tokens_max,
        whole_output_tokens_default=whole_output_tokens,
        idempotency_key=key_or_new(idempotency_key),
    )
    with control_channel(control) as channel:
        changed = _Stub(channel).UpdateModel(request, timeout=TIMEOUT_S).model
        print_json(changed) if json else out.print(model_facts(changed))


@app.command()
def publish_price(
    model: ModelArgument,
    *,
    input: Annotated[  # noqa: A002  # the option is called --input
        int, typer.Option(metavar="AMOUNT", parser=parse_price, help="Per million input tokens: 0.20, or 200000000n.")
    ],
    output: Annotated[int, typer.Option(metavar="AMOUNT", parser=parse_price, help="Per million output tokens.")],
    cached_input: Annotated[
        int | None, typer.Option(metavar="AMOUNT", parser=parse_price, help="Default: as input.")
    ] = None,
    cache_write: Annotated[
        int | None, typer.Option(metavar="AMOUNT", parser=parse_price, help="Default: as input.")
    ] = None,
    reasoning: Annotated[
        int | None, typer.Option(metavar="AMOUNT", parser=parse_price, help="Default: as output.")
    ] = None,
    effective: Annotated[
        Timestamp | None,
        typer.Option(
            metavar="MOMENT",
            parser=parse_moment,
            help="When it takes effect: 2026-12-04, 2026-12-04T18:00+01:00, or 5d from now. Default: now.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask about a price of 0.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Publishes a new price version; requests already authorised keep theirs."""
    if not yes and 0 in (input, output, cached_input, cache_write, reasoning):
        typer.confirm(f"Give tokens of {model} away for nothing, at a price of 0?", abort=True, err=True)
    request = catalog_service_pb2.PublishPriceRequest(
        model=model,
        input_nanos_per_million_tokens=input,
        cached_input_nanos_per_million_tokens=cached_input,
        cache_write_nanos_per_million_tokens=cache_write,
        output_nanos_per_million_tokens=output,
        reasoning_nanos_per_million_tokens=reasoning,
        effective_time=effective,
        idempotency_key=key_or_new(idempotency_key),
    )
    with control_channel(control) as channel:
        stub = _Stub(channel)
        price = stub.PublishPrice(request, timeout=TIMEOUT_S).price
        if json:
            print_json(price)
            return
        currency = stub.GetModel(catalog_service_pb2.GetModelRequest(name=model), timeout=TIMEOUT_S).model.currency_code
        out.print(
            facts(
                ("price", literal(price.name, "bold")),
                ("in effect from", time_text(price.effective_time)),
                ("per million tokens", price_text(price, currency)),
            )
        )


@app.command()
def withdraw_price(
    price: Annotated[str, typer.Argument(metavar="PRICE", help="llama/2, or models/llama/prices/2", parser=price_name)],
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Withdraws a price version before it takes effect; `tallygate model prices` shows which are to come."""
    request = catalog_service_pb2.WithdrawPriceRequest(name=price, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        stub = _Stub(channel)
        gone = stub.WithdrawPrice(request, timeout=TIMEOUT_S).price
        if json:
            print_json(gone)
            return
        of = catalog_service_pb2.GetModelRequest(name=price.partition("/prices/")[0])
        out.print(price_table([gone], stub.GetModel(of, timeout=TIMEOUT_S).model.currency_code))


@app.command()
def retire(
    model: ModelArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Retires a model: its services take no new requests, in any account. `model restore` takes it back into use."""
    if not yes:
        typer.confirm(f"Stop all services of {model}, in every account?", abort=True, err=True)
    request = catalog_service_pb2.RetireModelRequest(name=model, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        retired = _Stub(channel).RetireModel(request, timeout=TIMEOUT_S).model
        print_json(retired) if json else out.print(model_facts(retired))


@app.command()
def restore(
    model: ModelArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Ends a model's retirement: its services run again, unless something else stops them."""
    request = catalog_service_pb2.RestoreModelRequest(name=model, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        restored = _Stub(channel).RestoreModel(request, timeout=TIMEOUT_S).model
        print_json(restored) if json else out.print(model_facts(restored))
