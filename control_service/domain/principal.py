"""Principals: persons who have signed in, and everybody who was disabled."""

from dataclasses import dataclass
from typing import Final

SIGN_IN_LASTS_US: Final = 30 * 86_400_000_000
"""Time after a sign-in for which a person's groups count: whoever is known by a group only signs in again by then."""


@dataclass(frozen=True, slots=True)
class Principal:
    """What is known of a member. `groups` are members, too, as the issuer said them at the last sign-in."""

    member: str
    display_name: str = ""
    groups: tuple[str, ...] = ()
    last_sign_in_us: int | None = None
    disabled: bool = False
