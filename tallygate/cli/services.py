"""`tallygate service`: the services that requests are metered against."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import grpc
import typer
from rich.console import Group, RenderableType

from tallygate.cli.console import out, print_json
from tallygate.cli.names import account_name, model_name, service_name
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
from tallygate.cli.show import service_facts, service_table
from tallygate.cli.show_accounts import reservation_table
from tallygate.cli.watching import WatchOption, print_or_watch
from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    inference_service_pb2,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
    reservation_pb2,
)

app = typer.Typer(help="Inference services: their status, and how they are paid for.", no_args_is_help=True)

ServiceArgument = Annotated[
    str,
    typer.Argument(metavar="SERVICE", help="acme/chat-prod, or accounts/acme/services/chat-prod", parser=service_name),
]
_Stub = lifecycle_service_pb2_grpc.LifecycleServiceStub
Terms = lifecycle_service_pb2.ReservationTerms


class Status(StrEnum):
    """A service's status."""

    not_enabled = "not-enabled"
    activating = "activating"
    running = "running"
    stopped = "stopped"


_STATUSES = {
    Status.not_enabled: inference_service_pb2.SERVICE_STATUS_NOT_ENABLED,
    Status.activating: inference_service_pb2.SERVICE_STATUS_ACTIVATING,
    Status.running: inference_service_pb2.SERVICE_STATUS_RUNNING,
    Status.stopped: inference_service_pb2.SERVICE_STATUS_STOPPED,
}


class Overflow(StrEnum):
    """What happens to tokens beyond a reservation."""

    bill = "bill"
    refuse = "refuse"


class Keys(StrEnum):
    """Whether requests need an API key."""

    open = "open"
    required = "required"


_POLICIES = {
    Keys.open: inference_service_pb2.CREDENTIAL_POLICY_OPEN,
    Keys.required: inference_service_pb2.CREDENTIAL_POLICY_REQUIRED,
}
KeysOption = Annotated[Keys | None, typer.Option("--keys", help="Whether its requests need an API key.")]
SharedOption = Annotated[
    bool | None, typer.Option("--shared/--not-shared", help="Whether keys of all teams may use it.")
]
_OUTAGE_HELP = "Tokens that a node may go on with while it is cut off from the control service; 0: it denies."

_OVERFLOWS = {
    Overflow.bill: reservation_pb2.OVERFLOW_POLICY_BILL_BY_TOKEN,
    Overflow.refuse: reservation_pb2.OVERFLOW_POLICY_REFUSE,
}


@app.command("list")
def list_services(
    account: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="acme; without it, all services ever acted on")
    ] = "",
    *,
    model: Annotated[str, typer.Option(help="Only those of this model.")] = "",
    team: Annotated[str, typer.Option(help="Only this team's.")] = "",
    status: Annotated[Status | None, typer.Option(help="Only those with this status.")] = None,
    watch: WatchOption = False,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists services; those of an account include the default ones that nobody has acted on yet."""
    request = lifecycle_service_pb2.ListInferenceServicesRequest(
        account=account_name(account) if account else "",
        model=model_name(model) if model else "",
        team=team,
        status=_STATUSES[status] if status else inference_service_pb2.SERVICE_STATUS_UNSPECIFIED,
    )
    with control_channel(control) as channel:
        print_or_watch(
            lambda: all_pages(_Stub(channel).ListInferenceServices, request, "inference_services"),
            lambda found: service_table(list(found.inference_services)),
            watched=watch,
            json=json,
            csv=csv,
        )


@app.command()
def show(
    service: ServiceArgument,
    *,
    watch: WatchOption = False,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
) -> None:
    """Shows a service: its status, why it is stopped, and who pays."""
    request = lifecycle_service_pb2.GetInferenceServiceRequest(name=service)
    with control_channel(control) as channel:
        print_or_watch(
            lambda: _Stub(channel).GetInferenceService(request, timeout=TIMEOUT_S).inference_service,
            lambda found: _drawn(channel, found),
            watched=watch,
            json=json,
        )


def _drawn(channel: grpc.Channel, service: inference_service_pb2.InferenceService) -> RenderableType:
    """A service, with the reservations that are active."""
    shown = service_facts(service)
    if inference_service_pb2.BILLING_MODE_TPM_RESERVATION not in service.billing_modes:
        return shown
    asked = lifecycle_service_pb2.ListReservationsRequest(inference_service=service.name)
    bought = all_pages(_Stub(channel).ListReservations, asked, "reservations").reservations
    active = [one for one in bought if one.state == reservation_pb2.RESERVATION_STATE_ACTIVE]
    return Group(shown, reservation_table(active, currency_of(channel, service.name)))


@app.command()
def create(
    service: ServiceArgument,
    *,
    model: Annotated[str, typer.Option(metavar="MODEL", help="llama, or models/llama", parser=model_name)],
    display_name: Annotated[str, typer.Option(help="A name for people.")] = "",
    team: Annotated[str, typer.Option(help="Id of the team of its account that it belongs to.")] = "",
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label; repeatable.")] = None,
    outage_tokens: Annotated[int, typer.Option(min=0, max=INT64_MAX, help=_OUTAGE_HELP)] = 0,
    keys: KeysOption = None,
    shared: SharedOption = None,
    claim_trial: Annotated[bool, typer.Option("--claim-trial", help="Claim the model's free trial.")] = False,
    enable_postpaid: Annotated[bool, typer.Option("--enable-postpaid", help="Enable pay-as-you-go.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Creates a custom service."""
    request = lifecycle_service_pb2.CreateInferenceServiceRequest(
        name=service,
        model=model,
        display_name=display_name,
        team=team,
        labels=_labels(label or []),
        outage_policy=_outage_policy(outage_tokens),
        outage_tokens_max=outage_tokens,
        credential_policy=_credential_policy(keys),
        shared=bool(shared),
        idempotency_key=key_or_new(idempotency_key),
    )
    if claim_trial or enable_postpaid:
        request.billing.claim_free_trial = claim_trial
        request.billing.enable_postpaid = enable_postpaid
    with control_channel(control) as channel:
        print_service(_Stub(channel).CreateInferenceService(request, timeout=TIMEOUT_S).inference_service, json=json)


@app.command()
def update(
    service: ServiceArgument,
    *,
    display_name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    team: Annotated[str | None, typer.Option(help="Id of the team of its account that it belongs to.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label, in place of all it has; repeatable.")
    ] = None,
    outage_tokens: Annotated[int | None, typer.Option(min=0, max=INT64_MAX, help=_OUTAGE_HELP)] = None,
    keys: KeysOption = None,
    shared: SharedOption = None,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Changes what is said of a service, default ones included; what is left out stays."""
    request = lifecycle_service_pb2.UpdateInferenceServiceRequest(
        name=service,
        display_name=display_name,
        team=team,
        labels=lifecycle_service_pb2.LabelMap(labels=_labels(label)) if label else None,
        outage_tokens_max=outage_tokens,
        credential_policy=_credential_policy(keys),
        shared=shared,
        idempotency_key=key_or_new(idempotency_key),
    )
    if outage_tokens is not None:
        request.outage_policy = _outage_policy(outage_tokens)
    with control_channel(control) as channel:
        print_service(_Stub(channel).UpdateInferenceService(request, timeout=TIMEOUT_S).inference_service, json=json)


@app.command()
def claim_trial(
    service: ServiceArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Claims the model's free trial for this service; once per account and model."""
    request = lifecycle_service_pb2.ClaimFreeTrialRequest(name=service, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        print_service(_Stub(channel).ClaimFreeTrial(request, timeout=TIMEOUT_S).inference_service, json=json)


@app.command()
def enable_postpaid(
    service: ServiceArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Enables pay-as-you-go."""
    request = lifecycle_service_pb2.EnablePostpaidRequest(name=service, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        print_service(_Stub(channel).EnablePostpaid(request, timeout=TIMEOUT_S).inference_service, json=json)


@app.command()
def disable_postpaid(
    service: ServiceArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Disables pay-as-you-go, which stops the service even while trial tokens or a reservation remain."""
    request = lifecycle_service_pb2.DisablePostpaidRequest(name=service, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        print_service(_Stub(channel).DisablePostpaid(request, timeout=TIMEOUT_S).inference_service, json=json)


InputTpmOption = Annotated[int, typer.Option(help="Input tokens per minute.", min=0, max=INT64_MAX)]
OutputTpmOption = Annotated[int, typer.Option(help="Output tokens per minute.", min=0, max=INT64_MAX)]
DaysOption = Annotated[int, typer.Option(help="Term, from now on.", min=1, max=DAYS_MAX)]
OverflowOption = Annotated[Overflow, typer.Option(help="Tokens beyond it: bill them, or refuse.")]


def reservation_terms(input_tpm: int, output_tpm: int, days: int, overflow: Overflow) -> Terms:
    """What is to be bought."""
    return Terms(
        input_tokens_per_minute=input_tpm,
        output_tokens_per_minute=output_tpm,
        term_day_count=days,
        overflow_policy=_OVERFLOWS[overflow],
    )


@app.command()
def reserve(
    service: ServiceArgument,
    *,
    input_tpm: InputTpmOption,
    output_tpm: OutputTpmOption,
    days: DaysOption,
    overflow: OverflowOption = Overflow.bill,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Buys a TPM reservation for a custom service, paid at once."""
    request = lifecycle_service_pb2.PurchaseReservationRequest(
        inference_service=service,
        terms=reservation_terms(input_tpm, output_tpm, days, overflow),
        idempotency_key=key_or_new(idempotency_key),
    )
    with control_channel(control) as channel:
        answer = _Stub(channel).PurchaseReservation(request, timeout=TIMEOUT_S)
        if json:
            print_json(answer)
            return
        out.print(reservation_table([answer.reservation], currency_of(channel, service)))
        if answer.postpaid_enabled:
            out.print("The purchase enabled pay-as-you-go for tokens beyond the reservation.")
        print_service(answer.inference_service, json=False)


def currency_of(channel: grpc.Channel, name: str) -> str:
    """The currency of the account that something belongs to."""
    account = account_service_pb2.GetAccountRequest(name="/".join(name.split("/")[:2]))
    stub = account_service_pb2_grpc.AccountServiceStub(channel)
    return stub.GetAccount(account, timeout=TIMEOUT_S).account.currency_code


def _outage_policy(tokens_max: int) -> inference_service_pb2.OutagePolicy.ValueType:
    continues, denies = inference_service_pb2.OUTAGE_POLICY_CONTINUE, inference_service_pb2.OUTAGE_POLICY_DENY
    return continues if tokens_max else denies


def _credential_policy(keys: Keys | None) -> inference_service_pb2.CredentialPolicy.ValueType:
    return _POLICIES[keys] if keys else inference_service_pb2.CREDENTIAL_POLICY_UNSPECIFIED


def _labels(pairs: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise typer.BadParameter(f"{pair!r} is not a label; write it as KEY=VALUE")
        labels[key] = value
    return labels


def print_service(service: inference_service_pb2.InferenceService, *, json: bool) -> None:
    """Prints what a command was answered."""
    if json:
        print_json(service)
    else:
        out.print(service_facts(service))
