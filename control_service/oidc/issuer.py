"""An issuer as it is configured: which tokens of whose are accepted, and how far they go."""

from dataclasses import dataclass
from typing import Final

from tallygate._access.scope import Scope

DEFAULT_GROUPS_CLAIM: Final = "groups"
DEFAULT_SCOPES: Final = ("openid", "profile", "email")
"""Scopes that a sign-in with a browser asks for, unless others are configured."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """An OpenID Connect provider, by the exact text of its `iss`.

    `scope` is the widest one that it may speak for. Without a `groups_claim` nobody is in a group. `client_id` and
    `browser_scopes` are for the sign-in with a browser.
    """

    url: str
    audience: str
    scope: Scope
    groups_claim: str = DEFAULT_GROUPS_CLAIM
    client_id: str = ""
    browser_scopes: tuple[str, ...] = DEFAULT_SCOPES

    @property
    def browser_client_id(self) -> str:
        """The client id that a sign-in with a browser uses."""
        return self.client_id or self.audience
