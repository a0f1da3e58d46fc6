"""API keys of end users: what each may be used for, when it opens something, which secrets it is known by."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from control_service.domain.access_token import DAY_US, has_passed
from control_service.domain.binding import Binding
from control_service.domain.names import api_key_name
from control_service.domain.principal import SIGN_IN_LASTS_US, Principal

TEMPORARY_US_MIN: Final = 60 * 10**6
"""Minimum validity of a temporary key."""
TEMPORARY_US_MAX: Final = 30 * DAY_US
"""Maximum validity of a temporary key."""
OVERLAP_US_MAX: Final = 30 * DAY_US
"""Maximum time for which the secret before stays valid after a rotation."""
OVERLAP_US_DEFAULT: Final = DAY_US
"""Time for which the secret before stays valid after a rotation, unless the caller says another one."""
NAMED_MAX: Final = 200
"""Maximum number of services that a key's scope names, and likewise of models, and of its routes."""


class KeyState(enum.StrEnum):
    """Whether a key opens anything; by the names of the contract without the prefix API_KEY_STATE_."""

    VALID = "VALID"
    UNKNOWN = "UNKNOWN"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True)
class KeyScope:
    """What a key may be used for: ids of services of its account, and of models; None is all, also of those to come."""

    service_ids: tuple[str, ...] | None = None
    model_ids: tuple[str, ...] | None = None

    def names(self, service_id: str, model_id: str) -> bool:
        """Whether the scope has this service and this model."""
        has_service = self.service_ids is None or service_id in self.service_ids
        return has_service and (self.model_ids is None or model_id in self.model_ids)


EVERYTHING: Final = KeyScope()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secrets. `routes`: the id of the service that serves each model, by the model's id.

    `owner` is the member without whom the key opens nothing; empty for none. `secret_id` is that of the secret of now,
    empty of one that was brought along; `previous_secret_expire_us` is the end of the one before the last rotation.
    """

    account_id: str
    key_id: str
    uid: str
    display_name: str = ""
    team: str = ""
    owner: str = ""
    scope: KeyScope = EVERYTHING
    routes: Mapping[str, str] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    expire_us: int | None = None
    temporary: bool = False
    disabled: bool = False
    secret_id: str = ""
    previous_secret_expire_us: int | None = None
    config_version: int = 0
    creator: str = ""
    create_us: int = 0
    update_us: int = 0
    delete_us: int | None = None

    @property
    def name(self) -> str:
        """Its resource name."""
        return api_key_name(self.account_id, self.key_id)

    def state(self, now_us: int, owner_end_us: int | None) -> KeyState:
        """Whether the key opens anything. `owner_end_us`: when its owner is in the account no more; None for never."""
        if self.disabled or self.delete_us is not None or has_passed(owner_end_us, now_us):
            return KeyState.REVOKED
        return KeyState.EXPIRED if has_passed(self.expire_us, now_us) else KeyState.VALID


@dataclass(frozen=True, slots=True)
class KeySecret:
    """A secret of a key, by its hash. `expire_us`: its end, which a rotation sets; None for the secret of now."""

    secret_hash: bytes = field(repr=False)
    account_id: str
    key_id: str
    expire_us: int | None = None


HAS_LEFT: Final = 0
"""Moment that stands for an owner who is in the account no more."""


def owner_end_us(account_id: str, owner: Principal, bindings: Sequence[Binding]) -> int | None:
    """The moment from which an owner of keys is in the account no more; None for none that time alone brings.

    `bindings`: those of the owner and of the groups that it was in at its last sign-in; what is had by a group counts
    as long as it does for the owner itself. A role on the platform is none in the account.
    """
    there = [binding for binding in bindings if binding.grant.scope.account_id == account_id]
    if owner.disabled or not there:
        return HAS_LEFT
    if any(binding.grant.member == owner.member for binding in there):
        return None
    return (owner.last_sign_in_us or 0) + SIGN_IN_LASTS_US
