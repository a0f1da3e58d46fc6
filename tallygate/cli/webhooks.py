"""`tallygate webhook`: where an account's alerts are sent."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from tallygate.cli.alerts import FORMATS, AccountArgument, Kind, KindOption, moment, numbers_of
from tallygate.cli.console import err, out, print_json, print_list
from tallygate.cli.durations import parse_duration
from tallygate.cli.names import webhook_name
from tallygate.cli.numbers import INT64_MAX
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
from tallygate.cli.secrets_shown import OutOption, require_new, show_secret
from tallygate.cli.show_alerts import delivery_table, webhook_facts, webhook_table
from tallygate.control.v1 import alert_pb2, alert_service_pb2, alert_service_pb2_grpc, webhook_pb2

app = typer.Typer(help="Webhooks: where an account's alerts are sent.", no_args_is_help=True)

WebhookArgument = Annotated[
    str, typer.Argument(metavar="WEBHOOK", help="acme/pager, or accounts/acme/webhooks/pager", parser=webhook_name)
]
_Stub = alert_service_pb2_grpc.AlertServiceStub


@app.command()
def create(
    webhook: WebhookArgument,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where messages are posted to, by https.")],
    *,
    kind: KindOption = None,
    out_file: OutOption = "",
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Creates a webhook and shows its secret, once."""
    require_new(out_file)
    request = alert_service_pb2.CreateWebhookRequest(
        name=webhook, url=url, kinds=_kinds(kind), idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        made = _Stub(channel).CreateWebhook(request, timeout=TIMEOUT_S)
        if json:
            print_json(made)
            return
        err.print(webhook_facts(made.webhook))
        show_secret(made.secret, out_file, lost=made.secret_lost, what="secret")


@app.command("list")
def list_webhooks(
    account: AccountArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists an account's webhooks."""
    request = alert_service_pb2.ListWebhooksRequest(account=account)
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListWebhooks, request, "webhooks")
        print_list(found, lambda: webhook_table(found.webhooks), json=json, csv=csv)


@app.command()
def update(
    webhook: WebhookArgument,
    *,
    url: Annotated[str | None, typer.Option(help="Another address.")] = None,
    kind: KindOption = None,
    all_kinds: Annotated[bool, typer.Option("--all-kinds", help="Alerts of all kinds.")] = False,
    disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Send nothing, or send again.", show_default=False)
    ] = None,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Changes what is given. What is on its way to a webhook that is disabled is cancelled."""
    request = alert_service_pb2.UpdateWebhookRequest(
        name=webhook,
        url=url,
        kinds=alert_pb2.AlertKindList() if all_kinds else _kinds(kind),
        disabled=disabled,
        idempotency_key=key_or_new(idempotency_key),
    )
    with control_channel(control) as channel:
        _print(_Stub(channel).UpdateWebhook(request, timeout=TIMEOUT_S).webhook, json=json)


@app.command()
def rotate(
    webhook: WebhookArgument,
    *,
    overlap: Annotated[
        Duration | None,
        typer.Option(metavar="TIME", parser=parse_duration, help="How long the old secret signs as well; default 1d."),
    ] = None,
    at_once: Annotated[bool, typer.Option("--at-once", help="The old secret ends now.")] = False,
    out_file: OutOption = "",
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Gives a webhook another secret and shows it, once; both sign for a while."""
    require_new(out_file)
    request = alert_service_pb2.RotateWebhookSecretRequest(
        name=webhook, overlap=Duration() if at_once else overlap, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        made = _Stub(channel).RotateWebhookSecret(request, timeout=TIMEOUT_S)
        if json:
            print_json(made)
            return
        err.print(webhook_facts(made.webhook))
        show_secret(made.secret, out_file, lost=made.secret_lost, what="secret")


@app.command()
def delete(
    webhook: WebhookArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Deletes a webhook with what is on its way to it."""
    request = alert_service_pb2.DeleteWebhookRequest(name=webhook, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print(_Stub(channel).DeleteWebhook(request, timeout=TIMEOUT_S).webhook, json=json)


@app.command("test")
def send_test(
    webhook: WebhookArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Sends a test message; `webhook deliveries` tells what came of it."""
    request = alert_service_pb2.TestWebhookRequest(name=webhook, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        delivery = _Stub(channel).TestWebhook(request, timeout=TIMEOUT_S).delivery
        print_json(delivery) if json else out.print(delivery_table([delivery]))


@app.command()
def deliveries(
    webhook: WebhookArgument,
    *,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1, max=1_000)] = 20,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists the newest deliveries to a webhook: how far each is, and what the receiver answered."""
    request = alert_service_pb2.ListDeliveriesRequest(webhook=webhook, page_size=limit)
    with control_channel(control) as channel:
        found = _Stub(channel).ListDeliveries(request, timeout=TIMEOUT_S)
        print_list(found, lambda: delivery_table(found.deliveries), json=json, csv=csv)


@app.command()
def replay(
    webhook: WebhookArgument,
    *,
    first: Annotated[
        int, typer.Option("--from", metavar="N", help="Only from this sequence number on.", min=1, max=INT64_MAX)
    ] = 1,
    since: Annotated[
        datetime | None, typer.Option("--since", formats=FORMATS, help="Only from this moment on, UTC.")
    ] = None,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
) -> None:
    """Sends alerts again, under the ids that they had, and those that the webhook never got."""
    count = 0
    with control_channel(control) as channel:
        while first:
            request = alert_service_pb2.ReplayAlertsRequest(
                webhook=webhook, first_sequence_number=first, start_time=moment(since), idempotency_key=key_or_new("")
            )
            answer = _Stub(channel).ReplayAlerts(request, timeout=TIMEOUT_S)
            first, count = answer.next_sequence_number, count + answer.alert_count
        if json:
            print_json(alert_service_pb2.ReplayAlertsResponse(alert_count=count))
        else:
            out.print(f"{count:,} alerts are on their way again.")


def _kinds(kinds: list[Kind] | None) -> alert_pb2.AlertKindList | None:
    return alert_pb2.AlertKindList(kinds=numbers_of(kinds)) if kinds else None


def _print(webhook: webhook_pb2.Webhook, *, json: bool) -> None:
    print_json(webhook) if json else out.print(webhook_facts(webhook))
