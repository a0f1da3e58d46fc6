"""Sign-ins exchanged for access tokens: what an issuer has signed becomes a person with groups, and a token.

The token counts from the exchange on, also where the id token ends before it: the end of an id token says until when an
issuer's word may be taken, and not for how long the visit may last that begins with it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from control_service.domain.access_token import AccessToken
from control_service.domain.errors import InvalidRequestError
from control_service.domain.member import group_member, person_member
from control_service.domain.principal import Principal
from control_service.domain.sign_in import CLOCK_LEEWAY_US, IdTokenRefusedError, Refusal, SignedIn
from control_service.usecases.access.oidc_port import IdTokenVerifier, SignInOption
from control_service.usecases.access.token_mint import TokenMint
from control_service.usecases.access.tokens import ShownOnce
from control_service.usecases.access_changes import note_change
from control_service.usecases.idempotent_call import Act, Call, EncodedResponse, IdempotentCalls
from control_service.usecases.ports import Transaction
from tallygate._server.clock import US_PER_SECOND

SIGN_IN_TOKEN_US: Final = 15 * 60 * US_PER_SECOND
"""Validity of a token that is given for a sign-in."""
SIGN_INS_MAX: Final = 100
"""Maximum number of valid tokens of one person that were given for sign-ins: one id token can be exchanged often."""


class ExchangeToken:
    """Lets people in whom a configured issuer knows."""

    def __init__(self, calls: IdempotentCalls, verifier: IdTokenVerifier, mint: TokenMint) -> None:
        self._calls = calls
        self._verifier = verifier
        self._mint = mint

    async def options(self) -> Sequence[SignInOption]:
        """How people sign in; none where they have tokens only. Raises IssuerUnavailableError."""
        return await self._verifier.sign_in_options()

    async def exchange(self, id_token: str, call: Call) -> ShownOnce:
        """A token for whoever has signed in; the call is theirs, as the audit log has it.

        Raises:
            IdTokenRefusedError: the id token proves nothing, or whom it proves is disabled.
            InvalidRequestError: the person has too many such tokens.
            IssuerUnavailableError: nobody can tell at the moment.
        """
        person = await self._verifier.verify(id_token)
        member = person_member(person.issuer, person.subject)
        given: list[ShownOnce] = []

        async def change(tx: Transaction, act: Act) -> AccessToken:
            await _require_few(tx, member, act.now_us)
            await _record(tx, member, person, act.now_us)
            given.append(self._new_token(member, act.now_us))
            await tx.access_tokens.add(given[0].token)
            return given[0].token

        # The globals are locked, as for whoever disables a principal: else a sign-in could enable it again.
        theirs = replace(call, source=replace(call.source, principal=member, access_token=""))
        await self._calls.of_globals(theirs, change, lambda token: EncodedResponse(b"", token.name))
        return given[0]

    def _new_token(self, owner: str, now_us: int) -> ShownOnce:
        minted = self._mint.new_token()
        token = AccessToken(
            token_id=minted.token_id,
            owner=owner,
            display_name="",
            secret_hash=minted.secret_hash,
            create_us=now_us,
            expire_us=now_us + SIGN_IN_TOKEN_US,
            signed_in=True,
        )
        return ShownOnce(token, minted)


async def _require_few(tx: Transaction, member: str, now_us: int) -> None:
    if await tx.access_tokens.count_sign_ins(member, now_us) >= SIGN_INS_MAX:
        what = f"proves somebody who has {SIGN_INS_MAX} tokens for sign-ins already; use one, or wait for their end"
        raise InvalidRequestError([("id_token", what)])


async def _record(tx: Transaction, member: str, person: SignedIn, now_us: int) -> Principal:
    """The person as of this sign-in, stored.

    An id token that was made before the last sign-in tells nothing newer: whoever kept one from before leaving a group
    is not in that group again by it.
    """
    known = await tx.principals.get(member)
    if known.disabled:
        raise IdTokenRefusedError(
            Refusal.DISABLED, "Whoever the id token names is disabled here; have an operator enable them."
        )
    if known.last_sign_in_us is not None and person.issued_us + CLOCK_LEEWAY_US < known.last_sign_in_us:
        return known
    groups = tuple(sorted(group_member(person.issuer, group) for group in person.groups))
    now = replace(known, display_name=person.display_name, groups=groups, last_sign_in_us=now_us)
    await tx.principals.save(now)
    if known.groups or groups:
        # What the person's tokens open depends on the groups, and for how long on when the groups were heard of.
        await note_change(tx, members=(member,))
    return now
