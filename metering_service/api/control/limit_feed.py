"""What control says of rate rules and budgets, on its way into the node."""

from metering_service.api.control.limit_codec import decode_account_limits, decode_limit_pots, decode_model_limits
from metering_service.usecases.leases.lease_keeper import LeaseKeeper
from metering_service.usecases.leases.limit_intake import take_limits
from metering_service.usecases.node import Node
from tallygate.control.v1 import fleet_service_pb2 as pb


def take_all_limits(node: Node, message: pb.WatchConfigResponse) -> None:
    """Take in all limits that one message has, before what they apply to."""
    now_ns = node.clock.monotonic_ns()
    for account in message.account_limits:
        take_limits(node, decode_account_limits(account, now_ns))
    for model in message.model_limits:
        take_limits(node, decode_model_limits(model, now_ns))


def replenish_limit_pots(keeper: LeaseKeeper, message: pb.WatchConfigResponse) -> None:
    """Ask again for pots that may have something again."""
    if message.replenished_limit_pots:
        keeper.replenish_pots(each for pot in message.replenished_limit_pots for each in decode_limit_pots(pot))
