"""A sign-in: who somebody is, as an OpenID Connect issuer has stated it, and why such a statement is refused."""

import enum
from dataclasses import dataclass
from typing import Final

from control_service.domain.errors import ControlError, Reason
from tallygate._access.scope import Scope

ID_TOKEN_BYTES_MAX: Final = 16 * 1024
"""Maximum size of an id token."""
GROUPS_MAX: Final = 200
"""Maximum number of groups that an id token may state."""
GROUP_CHARACTERS_MAX: Final = 256
"""Maximum length of the name of a group."""
SUBJECT_CHARACTERS_MAX: Final = 255
"""Maximum length of a subject, as OpenID Connect has it."""
LABEL_CHARACTERS_MAX: Final = 256
"""Maximum length of a name or an e-mail address that is kept to be shown."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person, as an issuer states it; `groups` are this issuer's own, and mean nothing without it.

    `scope` is the widest one that the issuer may speak for. `display_name` and `email` are shown, and decide nothing.
    `issued_us` is when the id token was made, by the issuer's clock; `expires_us` is until when it is accepted, without
    leeway.
    """

    issuer: str
    subject: str
    display_name: str
    email: str
    groups: tuple[str, ...]
    scope: Scope
    issued_us: int
    expires_us: int


CLOCK_LEEWAY_US: Final = 60 * 10**6
"""Time by which clocks of issuers may differ from control's."""


class Refusal(enum.StrEnum):
    """Why an id token is refused."""

    TOO_LARGE = "TOO_LARGE"
    MALFORMED = "MALFORMED"
    ALGORITHM = "ALGORITHM"
    NOT_AN_ID_TOKEN = "NOT_AN_ID_TOKEN"  # noqa: S105  # a reason, not a secret
    ISSUER = "ISSUER"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    SIGNATURE = "SIGNATURE"
    AUDIENCE = "AUDIENCE"
    EXPIRED = "EXPIRED"
    NOT_YET_VALID = "NOT_YET_VALID"
    CLAIMS = "CLAIMS"
    GROUPS = "GROUPS"
    DISABLED = "DISABLED"


_REASONS: Final = {
    Refusal.EXPIRED: Reason.CREDENTIAL_EXPIRED,
    Refusal.DISABLED: Reason.CREDENTIAL_REVOKED,
}
"""Reasons on the wire; all other refusals are CREDENTIAL_INVALID."""


class IdTokenRefusedError(ControlError):
    """An id token proves nobody; the message is a sentence that repeats nothing of the token."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(_REASONS.get(refusal, Reason.CREDENTIAL_INVALID), message)
        self.refusal = refusal


class IssuerUnavailableError(ControlError):
    """Nobody can tell whether an id token is genuine, since the issuer does not answer; trying again may work."""

    def __init__(self, message: str, *, retry_after_ms: int) -> None:
        super().__init__(Reason.ISSUER_UNAVAILABLE, message)
        self.retry_after_ms = retry_after_ms
