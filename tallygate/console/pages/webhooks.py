"""Webhooks: where an account's alerts are sent, what came of each delivery, and sending them again."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console import show
from tallygate.console.nav import Entry
from tallygate.console.press import DANGER, Press
from tallygate.console.rotation import HOUR_S, OVERLAPS
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import alert_service_pb2 as pb
from tallygate.control.v1.alert_pb2 import AlertKind, AlertKindList
from tallygate.control.v1.alert_service_pb2_grpc import AlertServiceStub
from tallygate.control.v1.webhook_pb2 import Webhook

WEBHOOKS_MAX: Final = 20
"""Maximum number of webhooks of an account."""
PAGE_SIZE: Final = 50
"""Maximum number of deliveries on a page."""
_LIST: Final = "/accounts/{account}/webhooks"
_WEBHOOK: Final = "/accounts/{account}/webhooks/{webhook}"
_NAME: Final = "accounts/{account}/webhooks/{webhook}"


async def show_webhooks(visit: Visit) -> Response:
    """All webhooks of the account; there are few."""
    return visit.page("webhooks.html", webhooks=await _webhooks(visit), may_manage=visit.may(Permission.ALERTS_MANAGE))


async def show_webhook(visit: Visit) -> Response:
    """A webhook, and a page of its deliveries, the newest first."""
    request = pb.ListDeliveriesRequest(webhook=_name(visit), page_size=PAGE_SIZE, page_token=visit.query("page"))
    stub = AlertServiceStub(visit.control)
    answer, webhook = await asyncio.gather(stub.ListDeliveries(request), _webhook(visit))
    return visit.page(
        "webhook.html",
        webhook=webhook,
        deliveries=answer.deliveries,
        next_page=answer.next_page_token,
        may_manage=visit.may(Permission.ALERTS_MANAGE),
    )


async def show_create(visit: Visit) -> Response:
    """The form of a new webhook."""
    return visit.page("create_webhook.html", kinds=show.enum_choices(AlertKind))


async def create(visit: Visit) -> Response:
    """Create it; its secret is on the page that answers."""
    request = pb.CreateWebhookRequest(
        name=f"{visit.account}/webhooks/{visit.form.text('name')}",
        url=visit.form.text("url"),
        kinds=_kinds(visit),
        idempotency_key=visit.idempotency_key,
    )
    answer = await AlertServiceStub(visit.control).CreateWebhook(request)
    return _secret_page(visit, answer, "The webhook is created.")


async def show_edit(visit: Visit) -> Response:
    """The form of a webhook that there is."""
    webhook = await _webhook(visit)
    chosen = show.enum_names(webhook.kinds, "kinds")
    return visit.page("edit_webhook.html", webhook=webhook, kinds=show.enum_choices(AlertKind), chosen=chosen)


async def edit(visit: Visit) -> Response:
    """Change what was changed on the page; what somebody else has changed meanwhile stays."""
    form = visit.form
    request = pb.UpdateWebhookRequest(
        name=_name(visit),
        url=form.text("url") if form.changed("url") else None,
        kinds=_kinds(visit) if form.changed("kinds.kinds") else None,
        disabled=form.has("disabled") if form.changed("disabled") else None,
        idempotency_key=visit.idempotency_key,
    )
    await AlertServiceStub(visit.control).UpdateWebhook(request)
    return visit.done("The webhook is changed.", f"/{_name(visit)}")


async def show_rotate(visit: Visit) -> Response:
    """What another secret does to the one before."""
    says = "Until the one before ends, messages have a signature by each."
    return visit.page("rotate.html", overlaps=OVERLAPS, back=f"/{_name(visit)}", what="webhook", says=says)


async def rotate(visit: Visit) -> Response:
    """Give it another secret, which is on the page that answers."""
    overlap = visit.form.length("overlap", HOUR_S)
    request = pb.RotateWebhookSecretRequest(name=_name(visit), overlap=overlap, idempotency_key=visit.idempotency_key)
    answer = await AlertServiceStub(visit.control).RotateWebhookSecret(request)
    return _secret_page(visit, answer, "The webhook has another secret.")


async def show_replay(visit: Visit) -> Response:
    """What sending again does."""
    return visit.page("replay.html", webhook=_name(visit))


async def replay(visit: Visit) -> Response:
    """Send alerts again; where there are more than one call sends, say from where on."""
    request = pb.ReplayAlertsRequest(
        webhook=_name(visit),
        first_sequence_number=visit.form.number("first_sequence_number"),
        start_time=visit.form.time("start_time"),
        idempotency_key=visit.idempotency_key,
    )
    answer = await AlertServiceStub(visit.control).ReplayAlerts(request)
    more = f" More are left: go on from number {answer.next_sequence_number:,}." if answer.next_sequence_number else ""
    return visit.done(f"Alerts that are sent again: {answer.alert_count:,}.{more}", f"/{_name(visit)}")


def _secret_page(
    visit: Visit, answer: pb.CreateWebhookResponse | pb.RotateWebhookSecretResponse, said: str
) -> Response:
    page = f"/{answer.webhook.name}"
    hint = "The receiver checks signatures by it."
    return visit.secret_page(
        "secret.html", said=said, secret=answer.secret, rotate=f"{page}/rotate", back=page, hint=hint
    )


def _kinds(visit: Visit) -> AlertKindList:
    """The kinds that are ticked; all of them where none is."""
    known = AlertKind.DESCRIPTOR.values_by_name
    names = [f"ALERT_KIND_{name}" for name in visit.form.texts("kinds.kinds")]
    return AlertKindList(kinds=[AlertKind.Value(name) for name in names if name in known])


def _name(visit: Visit) -> str:
    return f"{visit.account}/webhooks/{visit.request.path_params['webhook']}"


async def _webhooks(visit: Visit) -> list[Webhook]:
    request = pb.ListWebhooksRequest(account=visit.account, page_size=WEBHOOKS_MAX)
    return list((await AlertServiceStub(visit.control).ListWebhooks(request)).webhooks)


async def _webhook(visit: Visit) -> Webhook:
    """The webhook of the address, which no call reads alone. Raises HTTPException where there is none."""
    for webhook in await _webhooks(visit):
        if webhook.name == _name(visit):
            return webhook
    raise HTTPException(HTTPStatus.NOT_FOUND)


_PRESSES: Final = (
    Press(
        path=f"{_WEBHOOK}/test",
        name=_NAME,
        title="Test the webhook {webhook}",
        says=("A message of type webhook.test is sent to it. What came of it is in the list of deliveries.",),
        button="Send a test",
        done="A test is on its way.",
        back=_WEBHOOK,
        stub=AlertServiceStub,
        request=pb.TestWebhookRequest,
    ),
    Press(
        path=f"{_WEBHOOK}/delete",
        name=_NAME,
        title="Delete the webhook {webhook}",
        says=("Nothing is sent to it any more, and the list of its deliveries is gone.", "Its name may be used again."),
        button="Delete the webhook",
        done="The webhook is deleted.",
        back=_LIST,
        stub=AlertServiceStub,
        request=pb.DeleteWebhookRequest,
        kind=DANGER,
    ),
)

NAV: Final = (Entry("Webhooks", _LIST, Permission.ALERTS_READ),)
ROUTES: Final = (
    at(_LIST, show_webhooks),
    at("/accounts/{account}/create-webhook", show_create, create),
    at(_WEBHOOK, show_webhook),
    at(f"{_WEBHOOK}/edit", show_edit, edit),
    at(f"{_WEBHOOK}/rotate", show_rotate, rotate),
    at(f"{_WEBHOOK}/replay", show_replay, replay),
    *(press.route for press in _PRESSES),
)
