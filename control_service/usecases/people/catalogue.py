"""The catalogue of models and their prices."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from control_service.domain.errors import InvalidRequestError, Reason, RefusedError, ResourceNotFoundError
from control_service.domain.model import WHOLE_OUTPUT_TOKENS_DEFAULT, Model, ReservationPrice, TrialOffer
from control_service.domain.names import price_name
from control_service.domain.price import Price, next_effective_us, price_in_force
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Transaction


@dataclass(frozen=True, slots=True)
class NewModel:
    """The settings of a model to be created."""

    model_id: str
    display_name: str
    aliases: tuple[str, ...]
    currency_code: str
    trial_offer: TrialOffer | None
    reservation_price: ReservationPrice | None
    smallest_request_tokens: int
    output_tokens_max: int = 0
    whole_output_tokens_default: int = WHOLE_OUTPUT_TOKENS_DEFAULT


@dataclass(frozen=True, slots=True)
class ModelUpdate:
    """New settings of a model; None leaves a setting as it is. `withdraw_trial` ends the trial offer."""

    display_name: str | None
    aliases: tuple[str, ...] | None
    trial_offer: TrialOffer | None
    withdraw_trial: bool
    reservation_price: ReservationPrice | None
    smallest_request_tokens: int | None
    output_tokens_max: int | None
    whole_output_tokens_default: int | None


@dataclass(frozen=True, slots=True)
class NewPrice:
    """A price version to be published; `effective_us` is None for now. Prices are nanos per million tokens."""

    effective_us: int | None
    input_nanos: int
    cached_input_nanos: int
    cache_write_nanos: int
    output_nanos: int
    reasoning_nanos: int
    source: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model, and the price in force as of one moment."""

    model: Model
    price: Price | None


async def create_model(tx: Transaction, new: NewModel, act: Act) -> ModelView:
    """Adds a model, and with it a default service for every account.

    Raises:
        ResourceExistsError: the name, or an alias, is in use.
        InvalidRequestError: the offered trial is smaller than the smallest request.
    """
    model = Model(
        model_id=new.model_id,
        uid=act.new_id(),
        display_name=new.display_name,
        currency_code=new.currency_code,
        smallest_request_tokens=new.smallest_request_tokens,
        output_tokens_max=new.output_tokens_max,
        whole_output_tokens_default=new.whole_output_tokens_default,
        create_us=act.now_us,
        update_us=act.now_us,
        aliases=tuple(sorted(new.aliases)),
        trial_offer=new.trial_offer,
        reservation_price=new.reservation_price,
        config_version=await tx.next_config_version(),
    )
    _check_trial(model, "trial_offer.quota_tokens")
    await tx.models.add(model)
    return ModelView(model, None)


async def update_model(tx: Transaction, model_id: str, update: ModelUpdate, act: Act) -> ModelView:
    """Changes a model's settings; trials claimed and reservations bought keep their terms.

    Raises:
        ResourceNotFoundError: there is no such model.
        ResourceExistsError: an alias belongs to another model.
        InvalidRequestError: the offered trial is smaller than the smallest request.
    """
    before = await tx.models.get(model_id)
    after = replace(
        before,
        display_name=before.display_name if update.display_name is None else update.display_name,
        aliases=before.aliases if update.aliases is None else tuple(sorted(update.aliases)),
        trial_offer=None if update.withdraw_trial else update.trial_offer or before.trial_offer,
        reservation_price=update.reservation_price or before.reservation_price,
        smallest_request_tokens=update.smallest_request_tokens or before.smallest_request_tokens,
        output_tokens_max=before.output_tokens_max if update.output_tokens_max is None else update.output_tokens_max,
        whole_output_tokens_default=update.whole_output_tokens_default or before.whole_output_tokens_default,
        update_us=act.now_us,
    )
    _check_trial(after, "trial_offer.quota_tokens" if update.trial_offer else "smallest_request_tokens")
    if _node_settings(after) != _node_settings(before):
        after = replace(after, config_version=await tx.next_config_version())
    await tx.models.save(after)
    return (await model_views(tx, [after], act.now_us))[0]


def _node_settings(model: Model) -> tuple[object, ...]:
    """The settings of a model that are part of the configuration for nodes, or of what nodes know models by."""
    return model.aliases, model.smallest_request_tokens, model.output_tokens_max, model.whole_output_tokens_default


def _check_trial(model: Model, path: str) -> None:
    offer, smallest_tokens = model.trial_offer, model.smallest_request_tokens
    if offer is not None and offer.quota_tokens < smallest_tokens:
        what = f"must not make a trial of {offer.quota_tokens} tokens where the smallest request has {smallest_tokens}"
        raise InvalidRequestError([(path, what)])


async def publish_price(tx: Transaction, model_id: str, new: NewPrice, act: Act) -> Price:
    """Publishes an immutable price version, which takes effect now or later.

    Raises:
        ResourceNotFoundError: there is no such model.
        InvalidRequestError: the version would take effect in the past.
    """
    model = await tx.models.get(model_id)
    effective_us = act.now_us if new.effective_us is None else new.effective_us
    if effective_us < act.now_us:
        raise InvalidRequestError([("effective_time", "must not be in the past; leave it out for now")])
    price = Price(
        model_id=model_id,
        version=model.price_count + 1,
        effective_us=effective_us,
        input_nanos=new.input_nanos,
        cached_input_nanos=new.cached_input_nanos,
        cache_write_nanos=new.cache_write_nanos,
        output_nanos=new.output_nanos,
        reasoning_nanos=new.reasoning_nanos,
        create_us=act.now_us,
        source=new.source,
    )
    is_first = not await tx.models.in_force([model_id], act.now_us)
    await tx.models.add_price(price)
    announced = await announce_prices(tx, replace(model, price_count=price.version), act.now_us)
    if is_first and effective_us == act.now_us:
        # The sweeper starts the services again that had stopped for want of a price: it may lock their accounts.
        announced = announced.due_by(effective_us)
    if model.next_due_us is not None:
        # Services may wait for the sweeper since then.
        announced = announced.due_by(model.next_due_us)
    await tx.models.save(announced)
    return price


async def withdraw_price(tx: Transaction, model_id: str, version: int, act: Act) -> Price:
    """Withdraws a version that is to take effect; nothing happens where it was withdrawn already.

    Raises:
        ResourceNotFoundError: there is no such version.
        RefusedError: PRICE_IN_EFFECT.
    """
    price, name = await tx.models.price(model_id, version), price_name(model_id, version)
    if price is None:
        raise ResourceNotFoundError(name)
    if price.withdrawn:
        return price
    model = await tx.models.get(model_id)
    if price.effective_us <= act.now_us or _is_announced(model, price):
        message = f"{name} has taken effect, and requests may have it; publish another price in its place."
        raise RefusedError(Reason.PRICE_IN_EFFECT, message, price=name)
    withdrawn = replace(price, withdraw_us=act.now_us)
    await tx.models.withdraw_price(withdrawn)
    if model.next_due_us == price.effective_us:
        to_come = next_effective_us(await tx.models.prices([model_id]), act.now_us)
        await tx.models.save(replace(model, next_due_us=to_come))
    return withdrawn


def _is_announced(model: Model, price: Price) -> bool:
    """Whether nodes were told already that a price takes effect, by a replica whose clock is ahead of this one's."""
    return model.next_due_us is None or model.next_due_us > price.effective_us


async def announce_prices(tx: Transaction, model: Model, now_us: int) -> Model:
    """The model with a new configuration version and due moment, after a price came or took effect; not stored yet."""
    return replace(
        model,
        config_version=await tx.next_config_version(),
        next_due_us=next_effective_us(await tx.models.prices([model.model_id]), now_us),
    )


async def model_views(tx: Transaction, models: Sequence[Model], now_us: int) -> list[ModelView]:
    """The models with their prices in force."""
    prices: dict[str, list[Price]] = defaultdict(list)
    for price in await tx.models.prices([model.model_id for model in models]):
        prices[price.model_id].append(price)
    return [ModelView(model, price_in_force(prices[model.model_id], now_us)) for model in models]
