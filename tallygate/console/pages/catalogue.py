"""The catalogue, for who runs it: models, what they offer, and their prices."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate._wire.amounts import units_text
from tallygate.console import show
from tallygate.console.forms import Form
from tallygate.console.nav import Entry
from tallygate.console.press import DANGER, Press
from tallygate.console.reads import model_name, model_of
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import catalog_service_pb2 as pb
from tallygate.control.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tallygate.control.v1.model_pb2 import Model, ReservationPrice, TrialOffer

PAGE_SIZE: Final = 50
"""Maximum number of models, or of prices, on a page."""
DAY_S: Final = 86_400
TRIAL: Final = ("trial_offer.quota_tokens", "trial_offer.valid_for")
"""Fields of a trial."""
RESERVED: Final = ("input_nanos_per_thousand_tpm_day", "output_nanos_per_thousand_tpm_day")
"""Fields of what reservations cost."""
_LIST: Final = "/operations/models"
_MODEL: Final = "/operations/models/{model}"
_NAME: Final = "models/{model}"


async def show_catalogue(visit: Visit) -> Response:
    """A page of models, by name."""
    request = pb.ListModelsRequest(alias=visit.query("alias"), page_size=PAGE_SIZE, page_token=visit.query("page"))
    answer = await CatalogServiceStub(visit.control).ListModels(request)
    return visit.page(
        "catalogue.html",
        models=answer.models,
        next_page=answer.next_page_token,
        may_manage=visit.may_everywhere(Permission.MODELS_MANAGE),
    )


async def show_model(visit: Visit) -> Response:
    """A model, and a page of its prices, the newest first."""
    stub = CatalogServiceStub(visit.control)
    request = pb.ListPricesRequest(model=model_name(visit), page_size=PAGE_SIZE, page_token=visit.query("page"))
    model, answer = await asyncio.gather(model_of(visit), stub.ListPrices(request))
    return visit.page(
        "catalogue_model.html",
        model=model,
        prices=answer.prices,
        now_s=visit.site.clock.now_us() // 1_000_000,
        next_page=answer.next_page_token,
        may_manage=visit.may_everywhere(Permission.MODELS_MANAGE),
    )


async def show_create(visit: Visit) -> Response:
    """The form of a new model."""
    return visit.page("create_model.html", model=Model(), reserved=("", ""), trial=("", ""))


async def create(visit: Visit) -> Response:
    """Create it; it has no price yet."""
    form = visit.form
    request = pb.CreateModelRequest(
        name=f"models/{form.text('name')}",
        currency_code=form.text("currency_code"),
        aliases=form.lines("aliases.aliases"),
        trial_offer=_trial(form),
        idempotency_key=visit.idempotency_key,
        **_said(form),
    )
    await CatalogServiceStub(visit.control).CreateModel(request)
    return visit.done("The model is created. It has no price yet: publish one.", f"/operations/{request.name}")


async def show_edit(visit: Visit) -> Response:
    """The form of a model that there is."""
    model = await model_of(visit)
    price = model.reservation_price
    reserved = (
        (units_text(price.input_nanos_per_thousand_tpm_day), units_text(price.output_nanos_per_thousand_tpm_day))
        if model.HasField("reservation_price")
        else ("", "")
    )
    return visit.page("edit_model.html", model=model, reserved=reserved, trial=_typed_trial(model))


async def edit(visit: Visit) -> Response:
    """Change what was changed on the page; a trial without a quota is withdrawn."""
    form = visit.form
    aliases, is_trial = form.lines("aliases.aliases"), any(map(form.changed, TRIAL))
    request = pb.UpdateModelRequest(
        name=model_name(visit),
        aliases=pb.AliasList(aliases=aliases) if form.changed("aliases.aliases") else None,
        trial_offer=_trial(form) or TrialOffer() if is_trial else None,
        idempotency_key=visit.idempotency_key,
        **_said(form),
    )
    await CatalogServiceStub(visit.control).UpdateModel(request)
    return visit.done("The model is changed.", f"/operations/{request.name}")


def _said(form: Form) -> dict[str, Any]:
    """What both forms say alike, where it is another than the page had; a number that is left empty is not said."""
    said: dict[str, Any] = {
        name: form.number(name)
        for name in ("smallest_request_tokens", "output_tokens_max", "whole_output_tokens_default")
        if form.text(name) and form.changed(name)
    }
    if form.changed("display_name"):
        said["display_name"] = form.text("display_name")
    if any(form.changed(f"reservation_price.{name}") for name in RESERVED):
        typed = {name: form.nanos(f"reservation_price.{name}") for name in RESERVED}
        prices = {name: nanos for name, nanos in typed.items() if nanos is not None}
        if prices:
            said["reservation_price"] = ReservationPrice(**prices)
    return said


def _typed_trial(model: Model) -> tuple[str, str]:
    """Quota and length of its trial, as they are typed."""
    quota = model.trial_offer.quota_tokens
    return str(quota) if quota else "", show.typed_length(model.trial_offer.valid_for)


def _trial(form: Form) -> TrialOffer | None:
    quota = form.number("trial_offer.quota_tokens")
    length: Duration | None = form.length("trial_offer.valid_for", DAY_S)
    return TrialOffer(quota_tokens=quota, valid_for=length) if quota else None


_PRESSES: Final = (
    Press(
        path=f"{_MODEL}/retire",
        name=_NAME,
        title="Retire the model {model}",
        says=(
            "All services on it stop at once, in every account.",
            "New requests are denied, and those that run are told to stop and are booked. It can be restored.",
        ),
        button="Retire the model",
        done="The model is retired.",
        back=_MODEL,
        stub=CatalogServiceStub,
        request=pb.RetireModelRequest,
        kind=DANGER,
    ),
    Press(
        path=f"{_MODEL}/restore",
        name=_NAME,
        title="Restore the model {model}",
        says=("Its services run again, unless something else stops them.",),
        button="Restore the model",
        done="The model is restored.",
        back=_MODEL,
        stub=CatalogServiceStub,
        request=pb.RestoreModelRequest,
    ),
    Press(
        path=f"{_MODEL}/prices/{{price}}/withdraw",
        name="models/{model}/prices/{price}",
        title="Withdraw version {price} of the price of {model}",
        says=("It never takes effect, and stays in the list. Its version is not given again.",),
        button="Withdraw the price",
        done="The price is withdrawn.",
        back=_MODEL,
        stub=CatalogServiceStub,
        request=pb.WithdrawPriceRequest,
        kind=DANGER,
    ),
)

NAV: Final = (Entry("Catalogue", _LIST, Permission.MODELS_MANAGE),)
ROUTES: Final = (
    at(_LIST, show_catalogue),
    at("/operations/create-model", show_create, create),
    at(_MODEL, show_model),
    at(f"{_MODEL}/edit", show_edit, edit),
    *(press.route for press in _PRESSES),
)
