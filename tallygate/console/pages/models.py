"""The model hub: what may be used, at which price, and the free trial of it."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console.nav import Entry
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import lifecycle_service_pb2
from tallygate.control.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub

PAGE_SIZE: Final = 48
"""Maximum number of cards on a page."""


async def show_models(visit: Visit) -> Response:
    """A card for each model, as the account sees it."""
    request = lifecycle_service_pb2.ListModelOffersRequest(
        account=visit.account, page_size=PAGE_SIZE, page_token=visit.query("page"), called=visit.query("model")
    )
    answer = await LifecycleServiceStub(visit.control).ListModelOffers(request)
    return visit.page(
        "models.html",
        offers=answer.model_offers,
        next_page=answer.next_page_token,
        may_create=answer.may_create_services,
    )


NAV: Final = (Entry("Model hub", "/accounts/{account}/models", Permission.SERVICES_READ),)
ROUTES: Final = (at("/accounts/{account}/models", show_models),)
