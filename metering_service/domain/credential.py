"""Credentials that callers prove themselves by, and what the control service says of each."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from tallygate._access.rights import NO_RIGHTS, Rights


class Credential(NamedTuple):
    """An access token, known by its hash; or the URI in a verified certificate. The fields of the other are empty."""

    token_id: str = ""
    token_sha256: bytes = b""
    certificate_uri: str = ""


class CredentialState(Enum):
    """Whether a credential opens anything. UNKNOWN: nobody has such a token, or such a certificate."""

    VALID = 1
    UNKNOWN = 2
    EXPIRED = 3
    REVOKED = 4


@dataclass(frozen=True, slots=True)
class CredentialConfig:
    """What control says of one credential: whom it proves, a member as in Binding, and what that one may do.

    `valid_for_ns`: how long from the moment at which this came; None for no end.
    """

    credential: Credential
    state: CredentialState
    member: str = ""
    rights: Rights = NO_RIGHTS
    valid_for_ns: int | None = None
    version: int = 0
