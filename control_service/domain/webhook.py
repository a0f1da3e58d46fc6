"""Webhooks: where an account's alerts are sent, and the secrets that the messages are signed with."""

from dataclasses import dataclass, field, replace
from typing import Final

from control_service.domain.alert import AlertKind
from control_service.domain.names import webhook_name

WEBHOOK_COUNT_MAX: Final = 20
"""Maximum number of webhooks of an account."""
SALT_BYTES: Final = 32
"""Number of random bytes that a secret is derived from."""
DAY_US: Final = 86_400_000_000
OVERLAP_US_MAX: Final = 30 * DAY_US
"""Maximum time for which the secret before goes on to sign after a rotation."""
OVERLAP_US_DEFAULT: Final = DAY_US
"""Time for which the secret before goes on to sign after a rotation, unless the caller says another one."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook. An empty set of `kinds` is all kinds; `gone`: its receiver has answered that it is gone.

    Secrets are derived from `salt`, see webhook_secret.py; none is stored.
    """

    account_id: str
    webhook_id: str
    uid: str
    url: str
    kinds: frozenset[AlertKind] = frozenset()
    disabled: bool = False
    gone: bool = False
    salt: bytes = field(default=b"", repr=False)
    previous_salt: bytes | None = field(default=None, repr=False)
    previous_until_us: int | None = None
    create_us: int = 0
    update_us: int = 0

    @property
    def name(self) -> str:
        """`accounts/{account}/webhooks/{webhook}`."""
        return webhook_name(self.account_id, self.webhook_id)

    def wants(self, kind: AlertKind) -> bool:
        """Whether alerts of this kind are sent to it."""
        return not self.disabled and (not self.kinds or kind in self.kinds)

    def rotated(self, salt: bytes, overlap_us: int, now_us: int) -> "Webhook":
        """The webhook with another secret. The one before signs as well for a while, the one before that does not.

        Without an overlap nothing is kept of the one before.
        """
        if not overlap_us:
            return replace(self, salt=salt, previous_salt=None, previous_until_us=None, update_us=now_us)
        return replace(
            self, salt=salt, previous_salt=self.salt, previous_until_us=now_us + overlap_us, update_us=now_us
        )

    def salts_at(self, now_us: int) -> tuple[bytes, ...]:
        """What the secrets that sign at this moment are derived from, the newest first."""
        if self.previous_salt is None or self.previous_until_us is None or self.previous_until_us <= now_us:
            return (self.salt,)
        return (self.salt, self.previous_salt)
