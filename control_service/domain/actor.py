"""Actors: who brought a change about, as events, ledger lines and the audit log name them."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Actor:
    """`name` is the principal where one was proved, else the caller's word for itself, or `system`.

    `note` is the caller's word for itself beside a proved principal; nobody has checked it.
    """

    name: str
    note: str = ""


SYSTEM: Final = Actor("system")
"""Actor of changes that follow from time or usage, not from a call."""

UNNAMED: Final = "user"
"""Name of a caller who proved nothing and said nothing of itself."""


@dataclass(frozen=True, slots=True)
class CallSource:
    """Who makes a call, and from where.

    `principal` is a member that was proved, by `access_token` where it was a token; both are empty where the server
    asks for no proof. `note` is the caller's word for itself, `peer` the address that it calls from.
    """

    principal: str = ""
    access_token: str = ""
    note: str = ""
    peer: str = ""

    @property
    def actor(self) -> Actor:
        """The actor of what the call changes."""
        return Actor(self.principal, self.note) if self.principal else Actor(self.note or UNNAMED)
