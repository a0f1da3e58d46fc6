"""The claims of an id token: who it is for, from when until when, and who signed in."""

from typing import Any, Final, Never

from joserfc.errors import ExpiredTokenError, InvalidClaimError, MissingClaimError
from joserfc.jwt import JWTClaimsRegistry

from control_service.domain.sign_in import (
    CLOCK_LEEWAY_US,
    GROUP_CHARACTERS_MAX,
    GROUPS_MAX,
    LABEL_CHARACTERS_MAX,
    SUBJECT_CHARACTERS_MAX,
    IdTokenRefusedError,
    Refusal,
    SignedIn,
)
from control_service.domain.texts import is_plain
from control_service.oidc.issuer import DEFAULT_GROUPS_CLAIM, Issuer
from tallygate._server.clock import US_PER_SECOND

LEEWAY_S: Final = CLOCK_LEEWAY_US // US_PER_SECOND
MOMENT_MAX_S: Final = 253_402_300_799
"""Maximum of a moment, from 1970 on or before: the last second of the year 9999."""


def signed_in(claims: dict[str, Any], issuer: Issuer, now_us: int) -> SignedIn:
    """Who signed in, by the claims of a token of this issuer. Raises IdTokenRefusedError."""
    _check_moments(claims)
    _check_standard_claims(claims, issuer, now_us)
    _check_parties(claims, issuer)
    subject = claims["sub"]
    if not _is_name(subject, SUBJECT_CHARACTERS_MAX):
        _refuse(Refusal.CLAIMS, f"has a sub that is no text of at most {SUBJECT_CHARACTERS_MAX} characters on one line")
    return SignedIn(
        issuer=issuer.url,
        subject=subject,
        display_name=_label(claims, "name", "preferred_username", "email"),
        email=_label(claims, "email"),
        groups=_groups(claims, issuer.groups_claim) if issuer.groups_claim else (),
        scope=issuer.scope,
        issued_us=int(claims["iat"]) * US_PER_SECOND,
        expires_us=int(claims["exp"]) * US_PER_SECOND,
    )


def _check_standard_claims(claims: dict[str, Any], issuer: Issuer, now_us: int) -> None:
    registry = JWTClaimsRegistry(
        now=now_us // US_PER_SECOND,
        leeway=LEEWAY_S,
        iss={"essential": True, "value": issuer.url},
        aud={"essential": True, "value": issuer.audience},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
    )
    try:
        registry.validate(claims)
    except ExpiredTokenError:
        _refuse(Refusal.EXPIRED, "has expired; sign in again")
    except MissingClaimError as error:
        _refuse(Refusal.CLAIMS, f"lacks {error.claim.replace(',', ', ')}")
    except InvalidClaimError as error:
        _refuse_claim(error.claim, claims[error.claim])


def _check_moments(claims: dict[str, Any]) -> None:
    """Refuse what is no moment: JSON as it is read here has numbers that are none, and numbers beyond all calendars."""
    for name in ("exp", "iat", "nbf"):
        value = claims.get(name)
        if value is None:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not abs(value) <= MOMENT_MAX_S:
            _refuse(Refusal.CLAIMS, f"has a {name} that is no moment")


def _refuse_claim(name: str, value: object) -> Never:
    match name:
        case "iss":
            _refuse(Refusal.ISSUER, "is of another issuer")
        case "aud":
            _refuse(Refusal.AUDIENCE, "was made for another client; compare its aud with the configured audience")
        case "nbf" | "iat" if isinstance(value, int | float):
            _refuse(Refusal.NOT_YET_VALID, f"is not valid yet: its {name} is more than {LEEWAY_S} s from now")
        case _:
            _refuse(Refusal.CLAIMS, f"has a {name} that cannot be one")


def _check_parties(claims: dict[str, Any], issuer: Issuer) -> None:
    """Refuse what was made for others as well but not at our request, and what only looks like an id token."""
    others = isinstance(claims["aud"], list) and any(each != issuer.audience for each in claims["aud"])
    if others and claims.get("azp") not in (issuer.audience, issuer.browser_client_id):
        _refuse(Refusal.AUDIENCE, "is for several clients, and its azp names none of ours")
    if "events" in claims:
        _refuse(Refusal.NOT_AN_ID_TOKEN, "is a token that ends sessions or tells of events, not one that begins any")


def _groups(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    if _are_groups_elsewhere(claims, name):
        _refuse(Refusal.GROUPS, "has too many groups for its issuer to state; have it state those of this client alone")
    stated = claims.get(name, [])
    groups = [stated] if isinstance(stated, str) else stated
    if not isinstance(groups, list) or not all(map(_is_group, groups)):
        _refuse(
            Refusal.GROUPS,
            f"has groups that are no list of texts of 1 to {GROUP_CHARACTERS_MAX} characters on one line",
        )
    if len(groups) > GROUPS_MAX:
        _refuse(
            Refusal.GROUPS, f"states more than {GROUPS_MAX} groups; have its issuer state those of this client alone"
        )
    return tuple(dict.fromkeys(groups))


def _are_groups_elsewhere(claims: dict[str, Any], name: str) -> bool:
    """Whether the issuer says that there are groups, but not here: as Entra does where a person is in too many."""
    names = claims.get("_claim_names")
    has_groups = name == DEFAULT_GROUPS_CLAIM and claims.get("hasgroups") in (True, "true")
    return has_groups or (isinstance(names, dict) and name in names)


def _is_group(group: object) -> bool:
    return isinstance(group, str) and _is_name(group, GROUP_CHARACTERS_MAX)


def _is_name(text: str, characters_max: int) -> bool:
    """Whether a text can name a person or a group: every character of it is visible, or a blank."""
    return 1 <= len(text) <= characters_max and text.isprintable() and is_plain(text)


def _label(claims: dict[str, Any], *names: str) -> str:
    """The first of these claims that can be shown; empty where none can."""
    labels = (claims.get(name) for name in names)
    return next((one for one in labels if isinstance(one, str) and _is_label(one)), "")


def _is_label(text: str) -> bool:
    return 1 <= len(text) <= LABEL_CHARACTERS_MAX and is_plain(text)


def _refuse(refusal: Refusal, what: str) -> Never:
    raise IdTokenRefusedError(refusal, f"The id token {what}.")
