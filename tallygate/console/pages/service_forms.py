"""Custom services: their creation, and what can be changed about any service."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import Response

from tallygate.console.forms import FieldError
from tallygate.console.nav import Entry
from tallygate.console.reads import read_service, read_teams, service_name
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import catalog_service_pb2, inference_service_pb2
from tallygate.control.v1 import lifecycle_service_pb2 as pb
from tallygate.control.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tallygate.control.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub

MODELS_MAX: Final = 1_000
POLICIES: Final = (("", "as the account has it"), ("OPEN", "no"), ("REQUIRED", "yes"))
"""Choices of whether requests need an API key: names of the contract, and words."""


async def show_create(visit: Visit) -> Response:
    """The form of a new service."""
    request = catalog_service_pb2.ListModelsRequest(page_size=MODELS_MAX)
    models, teams = await asyncio.gather(CatalogServiceStub(visit.control).ListModels(request), read_teams(visit))
    return visit.page("create_service.html", models=models.models, teams=teams, policies=POLICIES)


async def create(visit: Visit) -> Response:
    """Create the service; what it shall be paid by can be said at once."""
    form, name = visit.form, f"{visit.account}/services/{visit.form.text('name')}"
    request = pb.CreateInferenceServiceRequest(
        name=name,
        model=form.text("model"),
        display_name=form.text("display_name"),
        team=form.text("team"),
        labels=_labels(form.text("labels")),
        credential_policy=_policy(form.text("credential_policy")),
        idempotency_key=visit.idempotency_key,
    )
    if form.has("billing.claim_free_trial") or form.has("billing.enable_postpaid"):
        request.billing.claim_free_trial = form.has("billing.claim_free_trial")
        request.billing.enable_postpaid = form.has("billing.enable_postpaid")
    await LifecycleServiceStub(visit.control).CreateInferenceService(request)
    return visit.done("The service is created.", f"/{name}")


async def show_edit(visit: Visit) -> Response:
    """The form of a service that there is."""
    service, teams = await asyncio.gather(read_service(visit), read_teams(visit))
    labels = "\n".join(f"{key}={value}" for key, value in sorted(service.labels.items()))
    return visit.page("edit_service.html", service=service, teams=teams, labels=labels, policies=POLICIES[1:])


async def edit(visit: Visit) -> Response:
    """Change what was changed on the page; what somebody else has changed meanwhile stays."""
    form = visit.form
    changed: dict[str, Any] = {
        name: form.text(name) for name in ("display_name", "team") if form.text(name) != form.text(f"was.{name}")
    }
    if (labels := _labels(form.text("labels"))) != _labels(form.text("was.labels")):
        changed["labels"] = pb.LabelMap(labels=labels)
    if form.text("credential_policy") != form.text("was.credential_policy"):
        changed["credential_policy"] = _policy(form.text("credential_policy"))
    if form.has("shared") != form.has("was.shared"):
        changed["shared"] = form.has("shared")
    request = pb.UpdateInferenceServiceRequest(
        name=service_name(visit), idempotency_key=visit.idempotency_key, **changed
    )
    await LifecycleServiceStub(visit.control).UpdateInferenceService(request)
    return visit.done("The service is changed.", f"/{service_name(visit)}")


def _labels(text: str) -> dict[str, str]:
    """Labels, one a line, as `key=value`. Raises FieldError."""
    labels: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, sign, value = line.partition("=")
        if not key.strip() or not sign:
            raise FieldError("labels", f"{line!r} is not a label; write key=value, one a line.")
        labels[key.strip()] = value.strip()
    return labels


def _policy(name: str) -> inference_service_pb2.CredentialPolicy.ValueType:
    known = inference_service_pb2.CredentialPolicy.DESCRIPTOR.values_by_name.get(f"CREDENTIAL_POLICY_{name}")
    return inference_service_pb2.CredentialPolicy.ValueType(known.number if known else 0)


NAV: Final[tuple[Entry, ...]] = ()
ROUTES: Final = (
    at("/accounts/{account}/create-service", show_create, create),
    at("/accounts/{account}/services/{service}/edit", show_edit, edit),
)
