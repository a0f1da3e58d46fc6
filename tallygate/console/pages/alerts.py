"""Alerts: what an account was told of, and at which thresholds it wants to be."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate._wire.amounts import units_text
from tallygate.console import show
from tallygate.console.currency import currency_of
from tallygate.console.forms import nanos_of
from tallygate.console.nav import Entry
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import alert_service_pb2 as pb
from tallygate.control.v1.alert_pb2 import AlertKind
from tallygate.control.v1.alert_service_pb2_grpc import AlertServiceStub

PAGE_SIZE: Final = 50
"""Maximum number of alerts on a page."""
_LIST: Final = "/accounts/{account}/alerts"


async def show_alerts(visit: Visit) -> Response:
    """A page of alerts, the newest first."""
    kind = AlertKind.DESCRIPTOR.values_by_name.get(f"ALERT_KIND_{visit.query('kind')}")
    request = pb.ListAlertsRequest(account=visit.account, page_size=PAGE_SIZE, page_token=visit.query("page"))
    if kind is not None and kind.number:
        request.kinds.append(AlertKind.Value(kind.name))
    answer = await AlertServiceStub(visit.control).ListAlerts(request)
    return visit.page(
        "alerts.html",
        alerts=answer.alerts,
        kinds=show.enum_choices(AlertKind),
        next_page=answer.next_page_token,
        currency=await currency_of(visit),
        may_manage=visit.may(Permission.ALERTS_MANAGE),
    )


async def show_thresholds(visit: Visit) -> Response:
    """The form of the account's thresholds."""
    request = pb.GetAlertSettingsRequest(account=visit.account)
    settings = (await AlertServiceStub(visit.control).GetAlertSettings(request)).settings
    left = "\n".join(units_text(nanos) for nanos in settings.left_threshold_nanos)
    return visit.page("thresholds.html", settings=settings, left=left, currency=await currency_of(visit))


async def change_thresholds(visit: Visit) -> Response:
    """Change them; none where nothing is typed."""
    form, field = visit.form, "left_threshold_nanos.nanos"
    request = pb.UpdateAlertSettingsRequest(
        account=visit.account,
        trial_threshold_percents=pb.TrialPercentList(percents=form.numbers("trial_threshold_percents.percents")),
        left_threshold_nanos=pb.NanosList(nanos=[nanos_of(field, line) for line in form.lines(field)]),
        idempotency_key=visit.idempotency_key,
    )
    await AlertServiceStub(visit.control).UpdateAlertSettings(request)
    return visit.done("The thresholds are changed.", f"/{visit.account}/alerts")


NAV: Final = (Entry("Alerts", _LIST, Permission.ALERTS_READ),)
ROUTES: Final = (
    at(_LIST, show_alerts),
    at(f"{_LIST}/thresholds", show_thresholds, change_thresholds),
)
