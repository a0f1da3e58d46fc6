"""What is done about a service by one press: each has a page that says what it will do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from tallygate.console.nav import Entry
from tallygate.console.reads import read_model, read_service, service_name
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import lifecycle_service_pb2 as pb
from tallygate.control.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub


@dataclass(frozen=True, slots=True)
class Press:
    """One press: the end of its address, its button, what it says when it is done, and the call.

    `name`: of the contract; the page has a paragraph for each.
    """

    name: str
    slug: str
    button: str
    done: str
    request: type[Any]
    kind: str = "main"


PRESSES: Final = (
    Press(
        "CLAIM_FREE_TRIAL",
        "claim-free-trial",
        "Claim the free trial",
        "The free trial is claimed.",
        pb.ClaimFreeTrialRequest,
    ),
    Press(
        "ENABLE_POSTPAID",
        "enable-postpaid",
        "Enable pay-as-you-go",
        "Pay-as-you-go is enabled.",
        pb.EnablePostpaidRequest,
    ),
    Press(
        "DISABLE_POSTPAID",
        "disable-postpaid",
        "Disable pay-as-you-go",
        "Pay-as-you-go is disabled.",
        pb.DisablePostpaidRequest,
        "danger main",
    ),
    Press(
        "SUSPEND", "suspend", "Suspend", "The service is suspended.", pb.SuspendInferenceServiceRequest, "danger main"
    ),
    Press("RESUME", "resume", "Resume", "The service is no longer suspended.", pb.ResumeInferenceServiceRequest),
    Press("DELETE", "delete", "Delete", "The service is deleted.", pb.DeleteInferenceServiceRequest, "danger main"),
)
"""Actions that are done by one press."""


def _page(press: Press) -> Callable[[Visit], Awaitable[Response]]:
    async def show(visit: Visit) -> Response:
        service = await read_service(visit)
        return visit.page("press.html", press=press, service=service, model=await read_model(visit, service))

    return show


def _change(press: Press) -> Callable[[Visit], Awaitable[Response]]:
    async def change(visit: Visit) -> Response:
        stub = LifecycleServiceStub(visit.control)
        name = service_name(visit)
        rpc = getattr(stub, press.request.DESCRIPTOR.name.removesuffix("Request"))
        await rpc(press.request(name=name, idempotency_key=visit.idempotency_key))
        page = f"/{visit.account}/services" if press.name == "DELETE" else f"/{name}"
        return visit.done(press.done, page)

    return change


def _route(press: Press) -> Route:
    return at(f"/accounts/{{account}}/services/{{service}}/{press.slug}", _page(press), _change(press))


NAV: Final[tuple[Entry, ...]] = ()
ROUTES: Final = tuple(_route(press) for press in PRESSES)
