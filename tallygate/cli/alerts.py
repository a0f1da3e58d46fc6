"""`tallygate alert`: what an account was told of, and when it is told."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Annotated, Final

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.cli.console import out, print_json, print_list
from tallygate.cli.money import parse_amount
from tallygate.cli.names import account_name
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
from tallygate.cli.show_alerts import alert_table, settings_facts
from tallygate.control.v1 import alert_pb2, alert_service_pb2, alert_service_pb2_grpc

app = typer.Typer(help="Alerts: what an account was told of.", no_args_is_help=True)

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="acme, or accounts/acme", parser=account_name)]
Kind = StrEnum(  # type: ignore[misc]  # its members are those of the contract
    "Kind",
    {
        name.lower(): name.lower().replace("_", "-")
        for name in (one.removeprefix("ALERT_KIND_") for one in alert_pb2.AlertKind.keys())  # noqa: SIM118  # no dict
        if name != "UNSPECIFIED"
    },
)
KindOption = Annotated[list[Kind] | None, typer.Option("--kind", help="Only this kind; may be said several times.")]
_DAY, _MOMENT = "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"
FORMATS: Final = [_DAY, _MOMENT]
"""Forms in which moments are typed, UTC."""
NOTHING: Final = "none"
"""Word in place of thresholds where nothing shall be told."""
_Stub = alert_service_pb2_grpc.AlertServiceStub


@app.command("list")
def list_alerts(
    account: AccountArgument,
    *,
    kind: KindOption = None,
    since: Annotated[
        datetime | None, typer.Option("--since", formats=FORMATS, help="Only from this moment on, UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--until", formats=FORMATS, help="Only before this moment, UTC.")
    ] = None,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1, max=1_000)] = 50,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists an account's newest alerts."""
    request = alert_service_pb2.ListAlertsRequest(
        account=account, kinds=numbers_of(kind), start_time=moment(since), end_time=moment(until), page_size=limit
    )
    with control_channel(control) as channel:
        found: list[alert_pb2.Alert] = []
        while len(found) < limit:
            page = _Stub(channel).ListAlerts(request, timeout=TIMEOUT_S)
            found += islice(page.alerts, limit - len(found))
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        print_list(alert_service_pb2.ListAlertsResponse(alerts=found), lambda: alert_table(found), json=json, csv=csv)


@app.command()
def settings(
    account: AccountArgument,
    *,
    trial: Annotated[
        str, typer.Option("--trial", metavar="PERCENTS", help="Tell of trials at these percents, 80,100; or none.")
    ] = "",
    left: Annotated[
        str,
        typer.Option(
            "--left",
            metavar="AMOUNTS",
            help="Tell of money when so much is left, credit included: 500,100; or none.",
        ),
    ] = "",
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Shows when an account is told of its trials and its money, or changes what is given."""
    with control_channel(control) as channel:
        if not trial and not left:
            request = alert_service_pb2.GetAlertSettingsRequest(account=account)
            found = _Stub(channel).GetAlertSettings(request, timeout=TIMEOUT_S).settings
        else:
            update = alert_service_pb2.UpdateAlertSettingsRequest(
                account=account,
                trial_threshold_percents=alert_service_pb2.TrialPercentList(percents=_percents(trial))
                if trial
                else None,
                left_threshold_nanos=alert_service_pb2.NanosList(nanos=_amounts(left)) if left else None,
                idempotency_key=key_or_new(idempotency_key),
            )
            found = _Stub(channel).UpdateAlertSettings(update, timeout=TIMEOUT_S).settings
        print_json(found) if json else out.print(settings_facts(found))


def numbers_of(kinds: list[Kind] | None) -> list[alert_pb2.AlertKind.ValueType]:
    """Kinds as the contract has them."""
    return [alert_pb2.AlertKind.Value(f"ALERT_KIND_{kind.name.upper()}") for kind in kinds or ()]


def moment(typed: datetime | None) -> Timestamp | None:
    """A moment that was typed, on the wire."""
    if typed is None:
        return None
    made = Timestamp()
    made.FromDatetime(typed)
    return made


def _percents(text: str) -> list[int]:
    try:
        return [] if text == NOTHING else [int(one) for one in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} are no percents; write 80,100, or {NOTHING}") from error


def _amounts(text: str) -> list[int]:
    return [] if text == NOTHING else [parse_amount(one) for one in text.split(",")]
