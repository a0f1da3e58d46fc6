"""The catalogue on the wire."""

from typing import Final

from control_service.api.fields import Fields
from control_service.domain.input_bounds import ANSWER_TOKENS_MAX, PRICE_NANOS_MAX, TOKENS_MAX, TRIAL_VALID_US_MAX
from control_service.domain.model import WHOLE_OUTPUT_TOKENS_DEFAULT, ReservationPrice, TrialOffer
from control_service.domain.names import model_name, price_name
from control_service.domain.price import Price
from control_service.usecases.people.catalogue import ModelUpdate, ModelView, NewModel, NewPrice
from tallygate._wire.times import encode_duration, encode_timestamp
from tallygate.control.v1 import catalog_service_pb2, model_pb2

CURRENCY_DEFAULT: Final = "USD"
SMALLEST_REQUEST_TOKENS_DEFAULT: Final = 16


def decode_create(request: catalog_service_pb2.CreateModelRequest) -> NewModel:
    """The settings of the model to create. Raises InvalidRequestError."""
    smallest, whole = SMALLEST_REQUEST_TOKENS_DEFAULT, WHOLE_OUTPUT_TOKENS_DEFAULT
    if request.HasField("smallest_request_tokens"):
        smallest = request.smallest_request_tokens
    if request.HasField("whole_output_tokens_default"):
        whole = request.whole_output_tokens_default
    with Fields() as fields:
        offer = _decode_trial_offer(fields, request.trial_offer) if request.HasField("trial_offer") else None
        price = _decode_reservation_price(fields, request)
        return NewModel(
            model_id=fields.model("name", request.name),
            display_name=fields.text("display_name", request.display_name),
            aliases=fields.aliases("aliases", request.aliases),
            currency_code=fields.currency("currency_code", request.currency_code, CURRENCY_DEFAULT),
            trial_offer=offer,
            reservation_price=price,
            smallest_request_tokens=fields.number("smallest_request_tokens", smallest, 1, TOKENS_MAX),
            output_tokens_max=_decode_output_tokens_max(fields, request.output_tokens_max),
            whole_output_tokens_default=_decode_whole_output_tokens(fields, whole),
        )


def decode_update(request: catalog_service_pb2.UpdateModelRequest) -> tuple[str, ModelUpdate]:
    """The model's id and its new settings. Raises InvalidRequestError."""
    withdraws = request.HasField("trial_offer") and request.trial_offer.quota_tokens == 0
    offers = request.HasField("trial_offer") and not withdraws
    with Fields() as fields:
        display_name = fields.text("display_name", request.display_name)
        smallest = request.smallest_request_tokens if request.HasField("smallest_request_tokens") else None
        if smallest is not None:
            fields.number("smallest_request_tokens", smallest, 1, TOKENS_MAX)
        whole = request.whole_output_tokens_default if request.HasField("whole_output_tokens_default") else None
        limit = request.output_tokens_max if request.HasField("output_tokens_max") else None
        price = _decode_reservation_price(fields, request)
        aliases = fields.aliases("aliases.aliases", request.aliases.aliases) if request.HasField("aliases") else None
        return fields.model("name", request.name), ModelUpdate(
            display_name=display_name if request.HasField("display_name") else None,
            aliases=aliases,
            trial_offer=_decode_trial_offer(fields, request.trial_offer) if offers else None,
            withdraw_trial=withdraws,
            reservation_price=price,
            smallest_request_tokens=smallest,
            output_tokens_max=None if limit is None else _decode_output_tokens_max(fields, limit),
            whole_output_tokens_default=None if whole is None else _decode_whole_output_tokens(fields, whole),
        )


def decode_publish(request: catalog_service_pb2.PublishPriceRequest) -> tuple[str, NewPrice]:
    """The model's id and the version to publish. Raises InvalidRequestError."""
    with Fields() as fields:
        for required in ("input", "output"):
            if not request.HasField(f"{required}_nanos_per_million_tokens"):  # type: ignore[arg-type]  # a literal's name
                fields.refuse(f"{required}_nanos_per_million_tokens", "is required; zero is a price")
        like = {"cached_input": "input", "cache_write": "input", "reasoning": "output"}
        nanos = {
            kind: _decode_token_price(fields, request, kind, like.get(kind)) for kind in ("input", "output", *like)
        }
        at_us = (
            fields.moment_us("effective_time", request.effective_time) if request.HasField("effective_time") else None
        )
        return fields.model("model", request.model), NewPrice(
            effective_us=at_us,
            input_nanos=nanos["input"],
            cached_input_nanos=nanos["cached_input"],
            cache_write_nanos=nanos["cache_write"],
            output_nanos=nanos["output"],
            reasoning_nanos=nanos["reasoning"],
            source=fields.text("source", request.source),
        )


def encode_model(view: ModelView) -> model_pb2.Model:
    """A model with its price in force."""
    model, offer, reservation = view.model, view.model.trial_offer, view.model.reservation_price
    return model_pb2.Model(
        name=model_name(model.model_id),
        uid=model.uid,
        display_name=model.display_name,
        aliases=model.aliases,
        currency_code=model.currency_code,
        trial_offer=None
        if offer is None
        else model_pb2.TrialOffer(quota_tokens=offer.quota_tokens, valid_for=encode_duration(offer.valid_for_us)),
        reservation_price=None
        if reservation is None
        else model_pb2.ReservationPrice(
            input_nanos_per_thousand_tpm_day=reservation.input_nanos_per_thousand_tpm_day,
            output_nanos_per_thousand_tpm_day=reservation.output_nanos_per_thousand_tpm_day,
        ),
        smallest_request_tokens=model.smallest_request_tokens,
        output_tokens_max=model.output_tokens_max,
        whole_output_tokens_default=model.whole_output_tokens_default,
        current_price=None if view.price is None else encode_price(view.price),
        create_time=encode_timestamp(model.create_us),
        update_time=encode_timestamp(model.update_us),
        retire_time=encode_timestamp(model.retire_us),
    )


def encode_price(price: Price) -> model_pb2.Price:
    """One price version."""
    return model_pb2.Price(
        name=price_name(price.model_id, price.version),
        version=price.version,
        effective_time=encode_timestamp(price.effective_us),
        input_nanos_per_million_tokens=price.input_nanos,
        cached_input_nanos_per_million_tokens=price.cached_input_nanos,
        cache_write_nanos_per_million_tokens=price.cache_write_nanos,
        output_nanos_per_million_tokens=price.output_nanos,
        reasoning_nanos_per_million_tokens=price.reasoning_nanos,
        create_time=encode_timestamp(price.create_us),
        withdraw_time=encode_timestamp(price.withdraw_us),
        source=price.source,
    )


def encode_created(view: ModelView) -> catalog_service_pb2.CreateModelResponse:
    """The response to CreateModel."""
    return catalog_service_pb2.CreateModelResponse(model=encode_model(view))


def encode_updated(view: ModelView) -> catalog_service_pb2.UpdateModelResponse:
    """The response to UpdateModel."""
    return catalog_service_pb2.UpdateModelResponse(model=encode_model(view))


def encode_retired(view: ModelView) -> catalog_service_pb2.RetireModelResponse:
    """The response to RetireModel."""
    return catalog_service_pb2.RetireModelResponse(model=encode_model(view))


def encode_restored(view: ModelView) -> catalog_service_pb2.RestoreModelResponse:
    """The response to RestoreModel."""
    return catalog_service_pb2.RestoreModelResponse(model=encode_model(view))


def encode_published(price: Price) -> catalog_service_pb2.PublishPriceResponse:
    """The response to PublishPrice."""
    return catalog_service_pb2.PublishPriceResponse(price=encode_price(price))


def encode_withdrawn(price: Price) -> catalog_service_pb2.WithdrawPriceResponse:
    """The response to WithdrawPrice."""
    return catalog_service_pb2.WithdrawPriceResponse(price=encode_price(price))


def _decode_output_tokens_max(fields: Fields, tokens: int) -> int:
    return fields.number("output_tokens_max", tokens, 0, ANSWER_TOKENS_MAX)


def _decode_whole_output_tokens(fields: Fields, tokens: int) -> int:
    return fields.number("whole_output_tokens_default", tokens, 1, ANSWER_TOKENS_MAX)


def _decode_trial_offer(fields: Fields, offer: model_pb2.TrialOffer) -> TrialOffer:
    quota = fields.number("trial_offer.quota_tokens", offer.quota_tokens, 1, TOKENS_MAX)
    if not offer.HasField("valid_for"):
        return TrialOffer(quota)
    return TrialOffer(quota, fields.duration_us("trial_offer.valid_for", offer.valid_for, TRIAL_VALID_US_MAX))


def _decode_reservation_price(
    fields: Fields, request: catalog_service_pb2.CreateModelRequest | catalog_service_pb2.UpdateModelRequest
) -> ReservationPrice | None:
    if not request.HasField("reservation_price"):
        return None
    price = request.reservation_price
    nanos = {
        kind: fields.nanos(
            f"reservation_price.{kind}_nanos_per_thousand_tpm_day",
            getattr(price, f"{kind}_nanos_per_thousand_tpm_day"),
            0,
            PRICE_NANOS_MAX,
        )
        for kind in ("input", "output")
    }
    return ReservationPrice(nanos["input"], nanos["output"])


def _decode_token_price(
    fields: Fields, request: catalog_service_pb2.PublishPriceRequest, kind: str, like: str | None
) -> int:
    """The price of a kind; where the price is left out, that of the kind `like`."""
    name = f"{kind}_nanos_per_million_tokens"
    if like is not None and not request.HasField(name):  # type: ignore[arg-type]  # a literal's name
        name = f"{like}_nanos_per_million_tokens"
    return fields.nanos(name, getattr(request, name), 0, PRICE_NANOS_MAX)
