"""The client for inference servers: grpcio and protobuf, nothing else.

`MeteringClient` is for asyncio, `SyncMeteringClient` for threads; they have the same words.
"""

from tallygate._security import Security
from tallygate.client.client import MeteringClient
from tallygate.client.errors import Denial, Denied, Forked, MeteringError, Overloaded, Unreachable
from tallygate.client.rate_status import RateStatus
from tallygate.client.request import MeteredRequest
from tallygate.client.settings import ClientSettings, OnUnreachable
from tallygate.client.sync import SyncMeteredRequest, SyncMeteringClient
from tallygate.client.values import Grant, Receipt, Record, Usage

__all__ = [
    "ClientSettings",
    "Denial",
    "Denied",
    "Forked",
    "Grant",
    "MeteredRequest",
    "MeteringClient",
    "MeteringError",
    "OnUnreachable",
    "Overloaded",
    "RateStatus",
    "Receipt",
    "Record",
    "Security",
    "SyncMeteredRequest",
    "SyncMeteringClient",
    "Unreachable",
    "Usage",
]
