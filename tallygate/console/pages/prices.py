"""A new price of a model: typed, looked at beside the price in force, and published."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from tallygate.console.forms import FieldError
from tallygate.console.nav import Entry
from tallygate.console.reads import model_name, model_of
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import catalog_service_pb2 as pb
from tallygate.control.v1.catalog_service_pb2_grpc import CatalogServiceStub

KINDS: Final = (
    ("input", "Input", "", True),
    ("cached_input", "Cached input", "Nothing for as input.", False),
    ("cache_write", "Cache write", "Nothing for as input.", False),
    ("output", "Output", "", True),
    ("reasoning", "Reasoning", "Nothing for as output.", False),
)
"""Token kinds: as fields begin, words, a hint, and whether the price has to be said."""
_STANDS_FOR: Final = {"cached_input": "input", "cache_write": "input", "reasoning": "output"}
_ZERO: Final = "zero_is_meant"


async def show_publish(visit: Visit) -> Response:
    """The form of a new price."""
    return visit.page("publish_price.html", model=await model_of(visit), kinds=KINDS)


async def publish(visit: Visit) -> Response:
    """Look at the price first, and publish it by the second press. A price of zero has to be meant."""
    given = {kind: visit.form.nanos(_field(kind)) for kind, *_ in KINDS}
    for kind, word, _, is_required in KINDS:
        if is_required and given[kind] is None:
            raise FieldError(_field(kind), f"Write a price for {word.lower()} tokens.")
    effective = visit.form.time("effective_time")
    if 0 in given.values() and not visit.form.has(_ZERO):
        raise FieldError(_ZERO, "A price of 0 gives these tokens away; tick this if it is meant.")
    if not visit.form.has("confirmed"):
        shown = {kind: given[_STANDS_FOR.get(kind, kind)] if nanos is None else nanos for kind, nanos in given.items()}
        return visit.page(
            "review_price.html", model=await model_of(visit), kinds=KINDS, given=shown, effective_time=effective
        )
    fields: dict[str, Any] = {_field(kind): nanos for kind, nanos in given.items()}
    request = pb.PublishPriceRequest(
        model=model_name(visit),
        effective_time=effective,
        idempotency_key=visit.idempotency_key,
        **fields,
    )
    price = (await CatalogServiceStub(visit.control).PublishPrice(request)).price
    return visit.done(f"Version {price.version} of the price is published.", f"/operations/{request.model}")


def _field(kind: str) -> str:
    return f"{kind}_nanos_per_million_tokens"


NAV: Final[tuple[Entry, ...]] = ()
ROUTES: Final = (at("/operations/models/{model}/publish-price", show_publish, publish),)
