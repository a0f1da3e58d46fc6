"""Credentials: whom a proof proves, and what that member may do, as of one moment."""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from control_service.domain.access_token import AccessToken, CredentialState, earliest, has_passed
from control_service.domain.binding import Binding
from control_service.domain.member import MemberKind, kind_of_member
from control_service.domain.narrowing import NO_NARROWING, Narrowing
from control_service.domain.principal import SIGN_IN_LASTS_US, Principal
from tallygate._access.rights import NO_RIGHTS, Right, Rights
from tallygate._access.scope import Scope


@dataclass(frozen=True, slots=True)
class ResolvedCredential:
    """What a credential opens. Where its state is not VALID, it has no rights, and of an UNKNOWN one nothing is said.

    `groups`: members of which a change changes this, as one of `member` does. `expire_us`: the moment at which time
    alone ends it, or the part of it that comes from groups. `access_token`: the resource name of the token that it is;
    empty without one.
    """

    state: CredentialState
    member: str = ""
    display_name: str = ""
    rights: Rights = NO_RIGHTS
    groups: tuple[str, ...] = ()
    expire_us: int | None = None
    access_token: str = ""
    last_use_day_us: int | None = None


UNKNOWN: Final = ResolvedCredential(CredentialState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Proof:
    """How a proof stands to the secrets of a token: whether it is one of them, and until when."""

    is_right: bool
    expire_us: int | None = None


def prove(token: AccessToken, secret_hash: bytes) -> Proof:
    """Compares with both secrets of the token, whichever it is, in the same time."""
    is_present = hmac.compare_digest(token.secret_hash, secret_hash)
    is_previous = hmac.compare_digest(token.previous_secret_hash or bytes(len(secret_hash)), secret_hash)
    if is_present:
        return Proof(is_right=True)
    is_right = is_previous and token.previous_secret_hash is not None
    return Proof(is_right, token.previous_secret_expire_us if is_right else None)


def rights_of(
    bindings: Iterable[Binding], limit: Narrowing = NO_NARROWING, issuer_scope: Scope | None = None
) -> Rights:
    """What a member may do by its own bindings and those of its groups, within the limits of token and issuer."""
    rights = Rights(tuple(binding.grant.right for binding in bindings))
    return limit.of(Narrowing(scope=issuer_scope).of(rights))


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a member: its bindings, and those of its groups; the widest scope that its issuer speaks for."""

    principal: Principal
    bindings: Sequence[Binding]
    issuer_scope: Scope | None = None


def judge_token(token: AccessToken, proof: Proof, owner: Standing, now_us: int) -> ResolvedCredential:
    """What a token opens whose secret was right, by `prove`."""
    principal = owner.principal
    bindings, sign_in_end_us = _counting(owner, now_us)
    expire_us = earliest(token.expire_us, proof.expire_us, sign_in_end_us)
    state = CredentialState.REVOKED if principal.disabled else token.state(now_us)
    if state is CredentialState.VALID and has_passed(expire_us, now_us):
        state = CredentialState.EXPIRED
    return ResolvedCredential(
        state=state,
        member=token.owner,
        display_name=principal.display_name,
        rights=rights_of(bindings, token.narrowing, owner.issuer_scope)
        if state is CredentialState.VALID
        else NO_RIGHTS,
        groups=principal.groups,
        expire_us=expire_us,
        access_token=token.name,
        last_use_day_us=token.last_use_day_us,
    )


def judge_certificate(
    principal: Principal, bindings: Sequence[Binding], implied: Sequence[Right]
) -> ResolvedCredential:
    """What a certificate opens: what its URI implies, and what bindings give to it."""
    rights = Rights((*implied, *(binding.grant.right for binding in bindings)))
    if not rights.rights:
        return UNKNOWN
    if principal.disabled:
        return ResolvedCredential(CredentialState.REVOKED, principal.member)
    return ResolvedCredential(CredentialState.VALID, principal.member, principal.display_name, rights)


def _counting(owner: Standing, now_us: int) -> tuple[Sequence[Binding], int | None]:
    """The bindings that count now, and when the person has to have signed in again lest those of groups do not.

    Whoever has a binding of their own keeps that one without signing in; without one, nothing is left. So nobody who
    may give some role somewhere prolongs what a person has elsewhere by a group.
    """
    principal, bindings = owner.principal, owner.bindings
    if kind_of_member(principal.member) is not MemberKind.PERSON:
        return bindings, None
    own = [binding for binding in bindings if binding.grant.member == principal.member]
    if own and len(own) == len(bindings):
        return own, None
    end_us = (principal.last_sign_in_us or 0) + SIGN_IN_LASTS_US
    return (own, None) if own and has_passed(end_us, now_us) else (bindings, end_us)
