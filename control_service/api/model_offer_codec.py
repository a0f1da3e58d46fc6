"""Offers of models on the wire."""

from control_service.api.catalog_codec import encode_model, encode_price
from control_service.api.service_codec import encode_service
from control_service.usecases.people.catalogue import ModelView
from control_service.usecases.people.model_offers import ModelOfferView
from tallygate._wire.enums import encode_enum
from tallygate.control.v1 import model_offer_pb2 as pb


def encode_model_offer(view: ModelOfferView) -> pb.ModelOffer:
    """What a model offers the account."""
    offer, owner, default = view.offer, view.trial_service, view.default_service
    return pb.ModelOffer(
        model=encode_model(ModelView(offer.model, offer.price)),
        coming_prices=[encode_price(price) for price in offer.coming_prices],
        trial_state=encode_enum(pb.TrialState, view.trial_state),
        trial_service="" if owner is None else owner.name,
        default_service=None if default is None else encode_service(default),
    )
