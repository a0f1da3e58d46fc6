"""Lookup of many credentials at once: what each opens now, with as few queries as one needs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from control_service.domain.access_token import AccessToken
from control_service.domain.binding import Binding
from control_service.domain.certificate_uri import implied_rights
from control_service.domain.credential import (
    UNKNOWN,
    Proof,
    ResolvedCredential,
    judge_certificate,
    judge_token,
    prove,
)
from control_service.domain.member import certificate_member
from control_service.domain.principal import Principal
from control_service.usecases.ports import Transaction
from control_service.usecases.resolve_credential import Certificate, Credentials
from tallygate._access.token_text import ShownToken

Shown: TypeAlias = ShownToken | Certificate
"""Proof that a caller of a node has shown."""


@dataclass(frozen=True, slots=True)
class CredentialConfig:
    """What a credential opens, as of a version."""

    shown: Shown
    opens: ResolvedCredential
    version: int


async def resolve_all(
    tx: Transaction, credentials: Credentials, shown: Sequence[Shown], now_us: int
) -> list[ResolvedCredential]:
    """What each of these opens, in their order, as `Credentials.resolve` has it for one."""
    known = {each: credentials.without_database(each) for each in shown}
    unknown = [each for each, opens in known.items() if opens is None]
    tokens = await _proved(tx, credentials, [each for each in unknown if isinstance(each, ShownToken)])
    members = {certificate_member(each.uri) for each in unknown if isinstance(each, Certificate)}
    members.update(token.owner for token, _ in tokens.values())
    principals, bindings = await _standings(tx, members)

    def opens(each: Shown) -> ResolvedCredential:
        if isinstance(each, Certificate):
            member = certificate_member(each.uri)
            implied = implied_rights(each.uri, credentials.trust_domain)
            return judge_certificate(principals[member], bindings[member], implied)
        if each not in tokens:
            return UNKNOWN
        token, proof = tokens[each]
        owner = principals[token.owner]
        held = [binding for member in (token.owner, *owner.groups) for binding in bindings[member]]
        standing = credentials.standing(token.owner, owner, held)
        return judge_token(token, proof, standing, now_us)

    return [known[each] or opens(each) for each in shown]


async def _proved(
    tx: Transaction, credentials: Credentials, shown: Sequence[ShownToken]
) -> dict[ShownToken, tuple[AccessToken, Proof]]:
    """Those whose secret was right, and how."""
    if credentials.seal is None or not shown:
        return {}
    tokens = await tx.access_tokens.find_all({each.token_id for each in shown})
    proved: dict[ShownToken, tuple[AccessToken, Proof]] = {}
    for each in shown:
        token = tokens.get(each.token_id)
        if token is not None:
            proof = prove(token, credentials.seal.hash_of(each.sha256))
            if proof.is_right:
                proved[each] = token, proof
    return proved


async def _standings(
    tx: Transaction, members: Collection[str]
) -> tuple[dict[str, Principal], dict[str, list[Binding]]]:
    """What is known of these members, and the bindings of each and of the groups that each is in."""
    if not members:
        return {}, {}
    principals = await tx.principals.get_all(members)
    everybody = {*members, *(group for principal in principals.values() for group in principal.groups)}
    bindings: dict[str, list[Binding]] = {member: [] for member in everybody}
    for binding in await tx.bindings.of(everybody):
        bindings[binding.grant.member].append(binding)
    return principals, bindings
