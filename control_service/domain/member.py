"""Members: persons, groups, service accounts and certificates, as bindings name them."""

import enum
from typing import Final
from urllib.parse import urlsplit

from control_service.domain.names import MalformedNameError, parse_service_account

MEMBER_MAX: Final = 640
"""Maximum characters of a member."""
CERTIFICATE_URI_BYTES_MAX: Final = 512
"""Maximum bytes of a certificate's URI."""


class MemberKind(enum.StrEnum):
    """The part of a member before its first colon."""

    PERSON = "person"
    GROUP = "group"
    SERVICE_ACCOUNT = "serviceAccount"
    CERTIFICATE = "certificate"


OPERATOR: Final = "serviceAccount:serviceAccounts/operator"
"""Member whose token is in the file of the first operator; no service account of that name is stored."""
OPERATOR_ID: Final = "operator"
"""Id of that service account, which nobody can create."""

_SHAPE: Final = (
    "must be person:{issuer}#{subject}, group:{issuer}#{group}, serviceAccount:{name of a service account} or "
    "certificate:{URI of a certificate}"
)


def kind_of_member(member: str) -> MemberKind:
    """The kind of a member that `require_member` has seen."""
    return MemberKind(member.partition(":")[0])


def person_member(issuer: str, subject: str) -> str:
    """The person whom this issuer knows as this subject."""
    return f"{MemberKind.PERSON}:{issuer}#{subject}"


def group_member(issuer: str, group: str) -> str:
    """The group that this issuer says people are in."""
    return f"{MemberKind.GROUP}:{issuer}#{group}"


def service_account_member(name: str) -> str:
    """The service account of this name."""
    return f"{MemberKind.SERVICE_ACCOUNT}:{name}"


def certificate_member(uri: str) -> str:
    """Whoever has a certificate with this URI."""
    return f"{MemberKind.CERTIFICATE}:{uri}"


def issuer_of(member: str) -> str:
    """The issuer of a person or a group; empty of others."""
    kind, _, rest = member.partition(":")
    return rest.partition("#")[0] if kind in (MemberKind.PERSON, MemberKind.GROUP) else ""


def service_account_of(member: str) -> str:
    """The name of the service account that the member is; empty of others."""
    kind, _, name = member.partition(":")
    return name if kind == MemberKind.SERVICE_ACCOUNT else ""


def require_member(member: str) -> str:
    """The member as it was given. Raises MalformedNameError where it is none; the message says what one looks like."""
    kind, _, rest = member.partition(":")
    if len(member) > MEMBER_MAX or not rest.isprintable() or not _is_known(kind, rest):
        raise MalformedNameError(_SHAPE)
    return member


def _is_known(kind: str, rest: str) -> bool:
    if kind in (MemberKind.PERSON, MemberKind.GROUP):
        issuer, hash_sign, name = rest.partition("#")
        return _is_address(issuer) and bool(hash_sign and name)
    if kind == MemberKind.SERVICE_ACCOUNT:
        parse_service_account(rest)
        return True
    return kind == MemberKind.CERTIFICATE and _is_address(rest) and len(rest.encode()) <= CERTIFICATE_URI_BYTES_MAX


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.path)) and " " not in text
