"""Credentials, resolved: from what a caller has shown to the member that it proves and what that member may do.

A proof is judged by a few rows that are found by their keys, however many tokens and teams there are.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from control_service.domain.access_token import AccessToken, CredentialState
from control_service.domain.binding import Binding
from control_service.domain.certificate_uri import implied_rights
from control_service.domain.credential import (
    UNKNOWN,
    ResolvedCredential,
    Standing,
    judge_certificate,
    judge_token,
    prove,
)
from control_service.domain.member import OPERATOR, certificate_member, issuer_of
from control_service.domain.principal import Principal
from control_service.domain.token_seal import TokenSeal
from control_service.usecases.ports import Transaction
from tallygate._access.rights import ALL_RIGHTS
from tallygate._access.scope import Scope
from tallygate._access.token_text import ShownToken


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate by its URI; TLS has verified its chain and key."""

    uri: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """What this server knows credentials by, besides its database.

    `seal`: of tokens; None where the server has no pepper, and knows no tokens. `operator`: the token of the first
    operator, which opens everything before there is a row in the database. `trust_domain`: of certificates whose URIs
    say what they may do; empty for none. `issuer_scopes`: the widest scope that each issuer may speak for; None where
    issuers have no limits.
    """

    seal: TokenSeal | None = None
    operator: ShownToken | None = None
    trust_domain: str = ""
    issuer_scopes: Mapping[str, Scope] | None = None

    def without_database(self, proof: ShownToken | Certificate) -> ResolvedCredential | None:
        """What a proof opens where that is known without a look at the database; None where it is not."""
        if isinstance(proof, Certificate):
            return None if proof.uri.isprintable() else UNKNOWN
        if self._is_operator(proof):
            return ResolvedCredential(CredentialState.VALID, OPERATOR, "first operator", ALL_RIGHTS)
        return None if self.seal is not None and self.seal.is_own_id(proof.token_id) else UNKNOWN

    async def resolve(self, tx: Transaction, proof: ShownToken | Certificate, now_us: int) -> ResolvedCredential:
        """What a proof opens as of this transaction and moment."""
        known = self.without_database(proof)
        if known is not None:
            return known
        if isinstance(proof, Certificate):
            return await self._certificate(tx, proof)
        return await self.judge(tx, await tx.access_tokens.find(proof.token_id), proof, now_us)

    def _is_operator(self, shown: ShownToken) -> bool:
        known = self.operator
        return known is not None and (
            hmac.compare_digest(known.sha256, shown.sha256) and known.token_id == shown.token_id
        )

    async def judge(
        self, tx: Transaction, token: AccessToken | None, shown: ShownToken, now_us: int
    ) -> ResolvedCredential:
        """What a token opens that was found by its id; of one that was not found, or with a wrong secret, nothing.

        A wrong secret needs no look at the database.
        """
        if token is None or self.seal is None:
            return UNKNOWN
        proof = prove(token, self.seal.hash_of(shown.sha256))
        if not proof.is_right:
            return UNKNOWN
        principal = await tx.principals.get(token.owner)
        bindings = await tx.bindings.of((token.owner, *principal.groups))
        return judge_token(token, proof, self.standing(token.owner, principal, bindings), now_us)

    def standing(self, member: str, principal: Principal, bindings: Sequence[Binding]) -> Standing:
        """How a member stands. An issuer that is not configured speaks for nothing: its persons have no right."""
        issuer = issuer_of(member)
        if not issuer or self.issuer_scopes is None:
            return Standing(principal, bindings)
        scope = self.issuer_scopes.get(issuer)
        return Standing(principal, () if scope is None else bindings, scope)

    async def _certificate(self, tx: Transaction, certificate: Certificate) -> ResolvedCredential:
        member = certificate_member(certificate.uri)
        principal = await tx.principals.get(member)
        bindings = await tx.bindings.of((member,))
        return judge_certificate(principal, bindings, implied_rights(certificate.uri, self.trust_domain))


NO_CREDENTIALS: Final = Credentials()
"""Credentials of a server that knows none but certificates with bindings of their own."""
