"""The model hub: what may be used, at which price, and the free trial of it."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console.nav import Entry
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import catalog_service_pb2, lifecycle_service_pb2, model_pb2
from tallygate.control.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tallygate.control.v1.inference_service_pb2 import InferenceService
from tallygate.control.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub

PAGE_SIZE: Final = 24
"""Maximum number of cards on a page."""


async def show_models(visit: Visit) -> Response:
    """A card for each model, with the default service of the account for it."""
    request = catalog_service_pb2.ListModelsRequest(
        alias=visit.query("alias"), page_size=PAGE_SIZE, page_token=visit.query("page")
    )
    answer = await CatalogServiceStub(visit.control).ListModels(request)
    services = await asyncio.gather(*(_default_service(visit, model) for model in answer.models))
    return visit.page(
        "models.html", cards=list(zip(answer.models, services, strict=True)), next_page=answer.next_page_token
    )


async def show_trial(visit: Visit) -> Response:
    """What claiming the trial gives, before it is claimed."""
    request = catalog_service_pb2.GetModelRequest(name=_model_name(visit))
    model = (await CatalogServiceStub(visit.control).GetModel(request)).model
    return visit.page("claim_trial.html", model=model)


async def claim_trial(visit: Visit) -> Response:
    """Claim the trial for the default service."""
    request = lifecycle_service_pb2.ClaimFreeTrialRequest(
        name=f"{visit.account}/services/default-{visit.request.path_params['model']}",
        idempotency_key=visit.idempotency_key,
    )
    service = (await LifecycleServiceStub(visit.control).ClaimFreeTrial(request)).inference_service
    trial = service.free_trial
    notice = f"The free trial of {service.model} is claimed: {trial.remaining_tokens:,} tokens."
    return visit.done(notice, f"/{visit.account}/models")


async def _default_service(visit: Visit, model: model_pb2.Model) -> InferenceService:
    name = f"{visit.account}/services/default-{model.name.removeprefix('models/')}"
    request = lifecycle_service_pb2.GetInferenceServiceRequest(name=name)
    return (await LifecycleServiceStub(visit.control).GetInferenceService(request)).inference_service


def _model_name(visit: Visit) -> str:
    return f"models/{visit.request.path_params['model']}"


NAV: Final = (Entry("Model hub", "/accounts/{account}/models", Permission.SERVICES_READ),)
ROUTES: Final = (
    at("/accounts/{account}/models", show_models),
    at("/accounts/{account}/models/{model}/trial", show_trial, claim_trial),
)
