"""Sign-ins exchanged for tokens: what is stored of them, and what the tokens open."""

import asyncio
import itertools
import secrets
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.access_token import CredentialState
from control_service.domain.actor import CallSource
from control_service.domain.audit_entry import AuditOutcome
from control_service.domain.credential import ResolvedCredential
from control_service.domain.errors import InvalidRequestError, Reason
from control_service.domain.principal import Principal
from control_service.domain.sign_in import IdTokenRefusedError, IssuerUnavailableError, Refusal
from control_service.storage.database import SqlDatabase
from control_service.usecases.access import exchange_token
from control_service.usecases.access.exchange_token import SIGN_IN_TOKEN_US, ExchangeToken
from control_service.usecases.access.token_mint import TokenMint
from control_service.usecases.access.tokens import ShownOnce
from control_service.usecases.audit_ports import AuditFilter
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.idempotent_call import Call, IdempotentCalls
from control_service.usecases.resolve_credential import Credentials
from tallygate._access.rights import Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tallygate._access.token_text import read_token
from tallygate._server.clock import US_PER_SECOND, ManualClock
from tests.harness.control.access import SEAL, bound, store
from tests.harness.control.oidc_harness import URL, FakeIssuer
from tests.harness.patience import until

ADA = f"person:{URL}#ada"
OPS = f"group:{URL}#ops"
CALL = Call("tallygate.control.v1.TokenService/ExchangeToken", "", b"", CallSource(note="cli", peer="::1"), "{}")


class SignIns:
    """An issuer, a control that knows it, and what tokens open there."""

    def __init__(self, database: SqlDatabase) -> None:
        self.database = database
        self.clock = ManualClock()
        self.issuer = FakeIssuer(self.clock)
        self.signal = ChangeSignal()
        self.credentials = Credentials(SEAL)
        numbers = itertools.count(1)
        calls = IdempotentCalls(database, self.clock, lambda: f"id-{next(numbers)}", self.signal)
        self.exchange = ExchangeToken(calls, self.issuer.verifier(), TokenMint(SEAL, secrets.token_bytes))

    async def sign_in(self, **claims: Any) -> ShownOnce:
        return await self.exchange.exchange(self.issuer.token(**claims), CALL)

    async def opened_by(self, exchanged: ShownOnce) -> ResolvedCredential:
        shown = read_token(exchanged.minted.text)
        assert shown is not None
        async with self.database.reading() as tx:
            return await self.credentials.resolve(tx, shown, self.clock.now_us())

    async def principal(self) -> Principal:
        async with self.database.reading() as tx:
            return await tx.principals.get(ADA)


@pytest.fixture
def sign_ins(database: SqlDatabase) -> SignIns:
    """An issuer that control knows."""
    return SignIns(database)


async def test_a_sign_in_gives_a_token(sign_ins: SignIns) -> None:
    """Of the person, with what is bound to the person and to groups, as the issuer states them now."""
    async with sign_ins.database.writing() as tx:
        await store(tx, bound(OPS, Role.OPERATOR, PLATFORM), bound(ADA, Role.VIEWER))
    exchanged = await sign_ins.sign_in(name="Ada L.", groups=["staff", "ops"])
    found = await sign_ins.opened_by(exchanged)
    assert (found.state, found.member, found.display_name) == (CredentialState.VALID, ADA, "Ada L.")
    assert {right.role for right in found.rights.rights} == {Role.OPERATOR, Role.VIEWER}
    assert found.groups == (OPS, f"group:{URL}#staff")
    assert await sign_ins.principal() == Principal(
        ADA, "Ada L.", (OPS, f"group:{URL}#staff"), sign_ins.clock.now_us(), disabled=False
    )


async def test_a_token_lasts_15_minutes(sign_ins: SignIns) -> None:
    """From the exchange, however long the id token does: also where that has expired within its leeway."""
    now_us = sign_ins.clock.now_us()
    long = await sign_ins.sign_in(exp=now_us // US_PER_SECOND + 86_400)
    short = await sign_ins.sign_in(exp=now_us // US_PER_SECOND - 59)
    assert long.token.signed_in
    assert long.token.expire_us == short.token.expire_us == now_us + SIGN_IN_TOKEN_US == now_us + 900 * US_PER_SECOND
    sign_ins.clock.advance(899)
    assert (await sign_ins.opened_by(short)).state is CredentialState.VALID
    sign_ins.clock.advance(1)
    assert (await sign_ins.opened_by(long)).state is CredentialState.EXPIRED


async def test_an_older_id_token_brings_no_group_back(sign_ins: SignIns) -> None:
    """Nor does it count as another sign-in; it is good for a token still. The clocks may differ by a minute."""
    kept = sign_ins.issuer.token(groups=["ops"], exp=sign_ins.clock.now_us() // US_PER_SECOND + 86_400)
    sign_ins.clock.advance(61)
    await sign_ins.sign_in(groups=["staff"])
    known = await sign_ins.principal()
    for _ in range(2):
        sign_ins.clock.advance(1)
        replayed = await sign_ins.exchange.exchange(kept, CALL)
        assert (await sign_ins.opened_by(replayed)).state is CredentialState.VALID
        assert await sign_ins.principal() == known
    at_once = sign_ins.issuer.token(groups=["ops"], iat=known.last_sign_in_us // US_PER_SECOND - 59)  # type: ignore[operator]
    await sign_ins.exchange.exchange(at_once, CALL)
    assert (await sign_ins.principal()).groups == (OPS,)


async def test_a_person_has_so_many_sign_ins_at_a_time(sign_ins: SignIns, monkeypatch: pytest.MonkeyPatch) -> None:
    """One id token, exchanged again and again, fills no table; others sign in meanwhile, and this person later."""
    monkeypatch.setattr(exchange_token, "SIGN_INS_MAX", 2)
    for _ in range(2):
        await sign_ins.sign_in()
    with pytest.raises(InvalidRequestError, match="2 tokens for sign-ins already"):
        await sign_ins.sign_in()
    await sign_ins.sign_in(sub="ben")
    sign_ins.clock.advance(900)
    await sign_ins.sign_in()


async def test_groups_are_those_of_the_last_sign_in(sign_ins: SignIns) -> None:
    """Whoever has left a group at the issuer has left it here with the next sign-in, in all tokens."""
    async with sign_ins.database.writing() as tx:
        await store(tx, bound(OPS, Role.OWNER))
    first = await sign_ins.sign_in(groups=["ops"])
    assert (await sign_ins.opened_by(first)).rights.rights != ()
    second = await sign_ins.sign_in()
    assert (await sign_ins.opened_by(first)).rights.rights == ()
    assert (await sign_ins.opened_by(second)).rights.rights == ()


async def test_a_group_of_another_issuer_is_another_group(sign_ins: SignIns) -> None:
    """Though it has the same name; so is a person."""
    async with sign_ins.database.writing() as tx:
        other = "https://login.example.org"
        await store(tx, bound(f"group:{other}#ops", Role.OPERATOR, PLATFORM), bound(f"person:{other}#ada", Role.OWNER))
    exchanged = await sign_ins.sign_in(groups=["ops", f"{other}#ops", f"group:{other}#ops"])
    assert (await sign_ins.opened_by(exchanged)).rights.rights == ()


async def test_an_issuer_gives_nothing_beyond_its_scope(sign_ins: SignIns) -> None:
    """Whatever is bound to its persons and groups."""
    sign_ins.credentials = Credentials(SEAL, issuer_scopes={URL: Scope("acme")})
    async with sign_ins.database.writing() as tx:
        await store(tx, bound(OPS, Role.OPERATOR, PLATFORM), bound(ADA, Role.OWNER, Scope("other")))
    found = await sign_ins.opened_by(await sign_ins.sign_in(groups=["ops"]))
    assert found.rights == Rights((Right(Role.OPERATOR, Scope("acme")),))


async def test_whoever_is_disabled_does_not_sign_in(sign_ins: SignIns) -> None:
    """Nothing of the attempt is stored."""
    disabled = Principal(ADA, "Ada", (), 5, disabled=True)
    async with sign_ins.database.writing() as tx:
        await tx.principals.save(disabled)
    with pytest.raises(IdTokenRefusedError) as caught:
        await sign_ins.sign_in(name="Eve", groups=["ops"])
    assert (caught.value.refusal, caught.value.reason) == (Refusal.DISABLED, Reason.CREDENTIAL_REVOKED)
    assert await sign_ins.principal() == disabled
    async with sign_ins.database.reading() as tx:
        assert await tx.access_tokens.page(ADA, "", 10, 0) == []
        assert await tx.audit.page(AuditFilter(), (2**62, ""), 10) == []


async def test_a_sign_in_does_not_undo_a_disabling(sign_ins: SignIns) -> None:
    """Though both happen at the same moment: the sign-in waits, and finds the door closed."""
    async with sign_ins.database.writing() as tx:
        await tx.lock_globals()
        signing_in = asyncio.create_task(sign_ins.sign_in())
        # The issuer has answered, so that only the database keeps the sign-in.
        await until(lambda: sign_ins.issuer.fetched)
        await tx.principals.save(Principal(ADA, disabled=True))
    with pytest.raises(IdTokenRefusedError):
        await signing_in
    assert (await sign_ins.principal()).disabled


async def test_a_token_that_proves_nothing_stores_nothing(sign_ins: SignIns) -> None:
    """Neither does one of which nobody can tell."""
    with pytest.raises(IdTokenRefusedError) as caught:
        await sign_ins.sign_in(aud="another")
    assert caught.value.reason is Reason.CREDENTIAL_INVALID
    with pytest.raises(IdTokenRefusedError) as caught:
        await sign_ins.sign_in(exp=1)
    assert caught.value.reason is Reason.CREDENTIAL_EXPIRED
    unknown = SignIns(sign_ins.database)
    unknown.issuer.down = True
    with pytest.raises(IssuerUnavailableError) as unavailable:
        await unknown.sign_in()
    assert unavailable.value.reason is Reason.ISSUER_UNAVAILABLE
    assert await sign_ins.principal() == Principal(ADA)


async def test_the_secret_is_stored_nowhere(sign_ins: SignIns, engine: AsyncEngine) -> None:
    """Neither is the id token."""
    id_token = sign_ins.issuer.token(groups=["ops"])
    exchanged = await sign_ins.exchange.exchange(id_token, CALL)
    async with engine.connect() as connection:
        for table in ("principals", "access_tokens", "audit_entries"):
            rows = str((await connection.execute(text(f"SELECT * FROM {table}"))).all())  # noqa: S608  # a constant
            assert rows != "[]"
            assert exchanged.minted.text not in rows
            assert exchanged.minted.text.split("_")[2] not in rows
            assert id_token not in rows


async def test_a_sign_in_is_in_the_audit_log(sign_ins: SignIns) -> None:
    """With who it was, from where, and the token that was given."""
    exchanged = await sign_ins.sign_in()
    async with sign_ins.database.reading() as tx:
        (entry,) = await tx.audit.page(AuditFilter(), (2**62, ""), 10)
    assert (entry.outcome, entry.method) == (AuditOutcome.CHANGED, CALL.method)
    assert entry.source == replace(CALL.source, principal=ADA)
    assert (entry.resource, entry.request_json) == (exchanged.token.name, "{}")


async def test_nodes_are_told_of_groups(sign_ins: SignIns) -> None:
    """Where what a person's tokens open depends on them; at once, also for the last group that is left."""
    async with sign_ins.database.reading() as tx:
        before = await tx.config_version()
    with sign_ins.signal.listening() as listener:
        await sign_ins.sign_in()
        await listener.wait()
    async with sign_ins.database.reading() as tx:
        assert await tx.config_version() == before
    for groups in (["ops"], ["ops"], []):
        async with sign_ins.database.reading() as tx:
            before = await tx.config_version()
        await sign_ins.sign_in(groups=groups)
        async with sign_ins.database.reading() as tx:
            assert (await tx.access_versions.since(before)).members == {ADA}
