"""Access tokens: whose they are, when they open something, which secrets they are known by."""

import enum
from dataclasses import dataclass, field, replace
from typing import Final

from control_service.domain.member import service_account_of
from control_service.domain.names import access_token_name
from control_service.domain.narrowing import NO_NARROWING, Narrowing

DAY_US: Final = 86_400_000_000
VALID_FOR_US_MIN: Final = 60 * 10**6
"""Minimum validity of a token that somebody makes."""
VALID_FOR_US_MAX: Final = 3_660 * DAY_US
"""Maximum validity of a token."""
PERSONAL_VALID_FOR_US: Final = 90 * DAY_US
"""Validity of a person's token, unless its maker says another one."""
OVERLAP_US_MAX: Final = 30 * DAY_US
"""Maximum time for which the secret before stays valid after a rotation."""
OVERLAP_US_DEFAULT: Final = DAY_US
"""Time for which the secret before stays valid after a rotation, unless the caller says another one."""


class CredentialState(enum.StrEnum):
    """Whether a credential opens anything; by the names of the contract without the prefix CREDENTIAL_STATE_."""

    VALID = "VALID"
    UNKNOWN = "UNKNOWN"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token without its secret. `secret_hash` is what `TokenSeal.hash_of` makes of it.

    `last_use_day_us` is the begin of the day, UTC, on which the token was last used.
    """

    token_id: str
    owner: str
    display_name: str
    secret_hash: bytes = field(repr=False)
    create_us: int
    narrowing: Narrowing = NO_NARROWING
    expire_us: int | None = None
    signed_in: bool = False
    disabled: bool = False
    previous_secret_hash: bytes | None = field(default=None, repr=False)
    previous_secret_expire_us: int | None = None
    last_use_day_us: int | None = None
    delete_us: int | None = None

    @property
    def name(self) -> str:
        """Its resource name."""
        return access_token_name(service_account_of(self.owner), self.token_id)

    def state(self, now_us: int) -> CredentialState:
        """Whether the token opens anything, as far as its owner does."""
        if self.disabled or self.delete_us is not None:
            return CredentialState.REVOKED
        return CredentialState.EXPIRED if has_passed(self.expire_us, now_us) else CredentialState.VALID

    @property
    def opens_until_us(self) -> int | None:
        """The latest end of the tokens of its owner that it may make or open; None for any.

        Whoever holds a token that ends must not go on after that. A sign-in proves the owner itself, and is short for
        another reason: so that the owner signs in again.
        """
        return None if self.signed_in else self.expire_us

    def rotated(self, secret_hash: bytes, overlap_us: int, now_us: int) -> "AccessToken":
        """The token with another secret. The one before stays valid for a while, the one before that does not."""
        return replace(
            self,
            secret_hash=secret_hash,
            previous_secret_hash=self.secret_hash,
            previous_secret_expire_us=now_us + overlap_us,
        )


def has_passed(moment_us: int | None, now_us: int) -> bool:
    """Whether this moment has come; None never does."""
    return moment_us is not None and moment_us <= now_us


def earliest(*moments_us: int | None) -> int | None:
    """The first of these moments; None where none ever comes."""
    return min((moment for moment in moments_us if moment is not None), default=None)


def day_of(now_us: int) -> int:
    """The begin of the day of this moment, UTC."""
    return now_us - now_us % DAY_US
