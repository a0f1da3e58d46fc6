"""What models offer an account: beside each of its services, and as the list that people choose from."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from control_service.domain.account import Account
from control_service.domain.default_service import default_service
from control_service.domain.model import Model
from control_service.domain.model_offer import ModelOffer, TrialState, model_offer, trial_state
from control_service.domain.names import default_service_id
from control_service.domain.price import Price
from control_service.domain.service import Service, ServiceView
from control_service.domain.service_action import OfferedService
from control_service.usecases.people.service_list import service_views
from control_service.usecases.ports import Transaction
from tallygate._access.rights import Sight


@dataclass(frozen=True, slots=True)
class OfferQuery:
    """The offers to list: whose, as far as the caller sees, the model id before them, and how many.

    `called`: only of the model that clients mean by this; empty for all.
    """

    account_id: str
    sight: Sight
    after: str
    limit: int
    called: str = ""


@dataclass(frozen=True, slots=True)
class ModelOfferView:
    """An offer with the state of its trial, and the services by it that the caller sees; None without."""

    offer: ModelOffer
    trial_state: TrialState
    trial_service: Service | None
    default_service: OfferedService | None


async def with_offers(tx: Transaction, views: Sequence[ServiceView], now_us: int) -> list[OfferedService]:
    """The services with what their models offer their accounts."""
    models = {model.model_id: model for model in await tx.models.among({view.service.model_id for view in views})}
    prices = await _prices(tx, list(models))
    owners = await tx.services.trial_owners({(view.service.account_id, view.service.model_id) for view in views})
    return [
        OfferedService(
            view,
            model_offer(
                view.account,
                models[view.service.model_id],
                prices[view.service.model_id],
                owners.get((view.service.account_id, view.service.model_id)),
                now_us,
            ),
        )
        for view in views
    ]


async def with_offer(tx: Transaction, view: ServiceView, now_us: int) -> OfferedService:
    """The service with what its model offers its account."""
    (offered,) = await with_offers(tx, [view], now_us)
    return offered


async def list_model_offers(tx: Transaction, query: OfferQuery, now_us: int) -> list[ModelOfferView]:
    """A page of offers, by model id. Raises ResourceNotFoundError: there is no such account."""
    account_id = query.account_id
    account = await tx.accounts.get(account_id)
    models = await (_called(tx, query.called) if query.called else tx.models.page(query.after, query.limit))
    prices = await _prices(tx, [model.model_id for model in models])
    owners = await tx.services.trial_owners({(account_id, model.model_id) for model in models})
    seen = models if query.sight.shows(account_id) else []
    views = await _views(tx, account, seen, owners.values(), now_us)
    found = []
    for model in models:
        owner_id = owners.get((account_id, model.model_id))
        offer = model_offer(account, model, prices[model.model_id], owner_id, now_us)
        owner = None if owner_id is None else views[owner_id]
        owner_seen = owner is not None and query.sight.shows(account_id, owner.service.team)
        default = OfferedService(views[default_service_id(model.model_id)], offer) if seen else None
        trial_service = owner.service if owner is not None and owner_seen else None
        found.append(ModelOfferView(offer, trial_state(offer, owner), trial_service, default))
    return found


async def _called(tx: Transaction, text: str) -> list[Model]:
    """The model that a text means; none where it means none."""
    return await tx.models.among((await tx.models.called([text])).values())


async def _views(
    tx: Transaction, account: Account, models: Sequence[Model], service_ids: Collection[str], now_us: int
) -> dict[str, ServiceView]:
    """The account's default services for these models, stored or not, and its stored services of these ids."""
    defaults = {service.service_id: service for service in (default_service(account, model) for model in models)}
    stored = await tx.services.among(account.account_id, {*defaults, *service_ids})
    services = defaults | {service.service_id: service for service in stored}
    return {view.service.service_id: view for view in await service_views(tx, list(services.values()), now_us)}


async def _prices(tx: Transaction, model_ids: list[str]) -> dict[str, list[Price]]:
    found: dict[str, list[Price]] = defaultdict(list)
    for price in await tx.models.prices(model_ids):
        found[price.model_id].append(price)
    return found
