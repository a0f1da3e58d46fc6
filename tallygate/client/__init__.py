"""The client for inference servers: asyncio, grpcio and protobuf, nothing else."""

from tallygate.client.client import MeteringClient
from tallygate.client.errors import (
    Denial,
    Denied,
    MeteringError,
    Overloaded,
    Unreachable,
)
from tallygate.client.request import MeteredRequest
from tallygate.client.settings import ClientSettings
from tallygate.client.values import Grant, Receipt, Usage

__all__ = [
    "ClientSettings",
    "Denial",
    "Denied",
    "Grant",
    "MeteredRequest",
    "MeteringClient",
    "MeteringError",
    "Overloaded",
    "Receipt",
    "Unreachable",
    "Usage",
]
