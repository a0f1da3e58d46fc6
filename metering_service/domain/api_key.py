"""End users' API keys, as the control service describes them to a node."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final

from metering_service.domain.network import Network


class KeyState(Enum):
    """Whether a key opens anything. UNKNOWN: nobody has such a key."""

    VALID = 1
    UNKNOWN = 2
    EXPIRED = 3
    REVOKED = 4


class KeyProblem(Enum):
    """Why a key does not let a request in. Who shows a key hears one and the same refusal; its account is told."""

    ABSENT = "No key was shown, and the service requires one."
    UNKNOWN = "Nobody has such a key: check what was copied."
    EXPIRED = "The key has expired: give it a later end, or make another one."
    REVOKED = "The key was disabled, deleted or rotated out, or its owner has left: show one that is valid."
    FOREIGN = "The service is in another account than the key."
    OUTSIDE_METER = "The caller of this node may not meter the service that the key leads to."
    SERVICE = "The service is not in the key's scope: add it there."
    MODEL = "The model is not in the key's scope, or there is none of that name."
    TEAM = "The service is another team's, and not shared."
    NO_ROUTE = "The key leads to no service for this model: give it a route."
    NO_SERVICE = "The key leads to a service that is not there: change its route."
    ADDRESS = "The address is in none of the key's networks, or was not said."


NO_NAMES: Final[frozenset[str]] = frozenset()
NO_ROUTES: Final[Mapping[str, str]] = MappingProxyType({})
"""Routes of the many keys that have none, who share them."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What control says of one key. Models and services are resource names; None in their stead: all.

    `team`: id of the team that the key belongs to; empty for none. `valid_for_ns`: how long from the moment at which
    this came; None for no end. Of an UNKNOWN key nothing is set but the version.
    """

    sha256: bytes
    state: KeyState
    name: str = ""
    uid: str = ""
    team: str = ""
    services: frozenset[str] | None = NO_NAMES
    models: frozenset[str] | None = NO_NAMES
    routes: Mapping[str, str] = field(default_factory=lambda: NO_ROUTES)
    """Which service a model is served by."""
    networks: tuple[Network, ...] = ()
    """From where it may be used; none: from anywhere."""
    valid_for_ns: int | None = None
    version: int = 0

    @property
    def account(self) -> str:
        """Resource name of the account that it belongs to."""
        return self.name.partition("/keys/")[0]

    def is_of_account_of(self, service: str) -> bool:
        """Whether a service, by its resource name, is in the same account."""
        return service.startswith(f"{self.account}/services/")


@dataclass(frozen=True, slots=True)
class ModelMeaning:
    """What control says of a model's name as end users write it. `model`: its resource name; empty where it is none."""

    text: str
    model: str
    version: int = 0
