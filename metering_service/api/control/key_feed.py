"""What control says of API keys and models, on its way into the node."""

from metering_service.api.control.key_codec import decode_key, decode_model
from metering_service.usecases.leases.key_intake import take_key, take_model
from metering_service.usecases.node import Node
from tallygate.control.v1 import fleet_service_pb2 as pb


def take_keys(node: Node, message: pb.WatchConfigResponse) -> None:
    """Take in all that one message says of them."""
    for model in message.models:
        take_model(node, decode_model(model))
    for key in message.api_keys:
        take_key(node, decode_key(key))
