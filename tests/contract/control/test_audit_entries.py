"""Each change has its entry in the audit log, in its own transaction."""

import pytest

from control_service.domain.account import Account
from control_service.domain.actor import Actor, CallSource
from control_service.domain.audit_entry import AuditEntry, AuditOutcome
from control_service.domain.errors import RefusedError, StorageUnavailableError
from control_service.domain.ledger import LedgerEntryKind, Line
from control_service.storage.database import SqlDatabase
from control_service.usecases.audit_ports import AuditFilter
from control_service.usecases.idempotent_call import Act, Call, EncodedResponse
from control_service.usecases.people.payments import BookedLine, pay
from control_service.usecases.people.switches import set_suspended
from control_service.usecases.ports import Transaction
from tests.harness.control.people_harness import Desk

LAST = 2**63 - 1, ""
ANNA = CallSource("person:https://issuer#anna", "accessTokens/a", "anna at her desk", "192.0.2.1")
BEN = CallSource("person:https://issuer#ben")
METHOD = "tallygate.control.v1.AccountService/TopUpAccount"


async def entries(database: SqlDatabase) -> list[AuditEntry]:
    async with database.reading() as tx:
        return await tx.audit.page(AuditFilter(), LAST, 100)


async def top_up(desk: Desk, source: CallSource = ANNA, key: str = "key", *, fails: bool = False) -> bytes:
    async def change(tx: Transaction, account: Account, act: Act) -> BookedLine:
        booked = await pay(tx, account, Line(LedgerEntryKind.TOP_UP, 5, ""), act)
        if fails:
            raise StorageUnavailableError
        return booked

    call = Call(METHOD, key, b"hash", source, '{"amount_nanos":"5"}')
    return await desk.idempotent_calls.of_account(
        "acme", call, change, lambda booked: EncodedResponse(repr(booked).encode(), "accounts/acme")
    )


@pytest.fixture
def fresh(desk: Desk) -> Desk:
    """A desk whose clock has gone on since everything was set up."""
    desk.clock.advance(60)
    return desk


async def test_a_change_has_an_entry(fresh: Desk) -> None:
    """Who, from where, by which proof, which RPC, what was asked of which resource, and what came of it."""
    await top_up(fresh)
    newest = (await entries(fresh.database))[0]
    assert newest == AuditEntry(
        entry_id=newest.entry_id,
        event_us=fresh.now_us,
        outcome=AuditOutcome.CHANGED,
        method=METHOD,
        source=ANNA,
        resource="accounts/acme",
        account_id="acme",
        request_json='{"amount_nanos":"5"}',
    )


async def test_a_change_to_what_is_in_no_account_has_an_entry_as_well(desk: Desk) -> None:
    """A new account's is that account's, a model's is the platform's."""

    async def create(resource: str) -> None:
        async def change(_tx: Transaction, _act: Act) -> str:
            return resource

        call = Call("a.b.Service/Create", "", b"", ANNA)
        await desk.idempotent_calls.of_globals(call, change, lambda made: EncodedResponse(b"", made))

    await create("accounts/new")
    await create("models/new")
    made = {entry.resource: entry.account_id for entry in await entries(desk.database) if entry.source == ANNA}
    assert made == {"accounts/new": "new", "models/new": ""}


async def test_a_repeat_makes_no_second_entry(fresh: Desk) -> None:
    """Nothing was changed by it."""
    before = len(await entries(fresh.database))
    for _ in range(3):
        await top_up(fresh)
    assert len(await entries(fresh.database)) == before + 1


async def test_a_change_that_fails_makes_no_entry(fresh: Desk) -> None:
    """Whatever it had written by then is gone with its entry."""
    before = await entries(fresh.database)
    with pytest.raises(StorageUnavailableError):
        await top_up(fresh, fails=True)
    with pytest.raises(RefusedError):
        await fresh.disable("default-llama")
    assert await entries(fresh.database) == before


async def test_a_key_is_its_callers_own(fresh: Desk) -> None:
    """Who knows another's key is not answered with what the other was, and the call counts."""
    first = await top_up(fresh, ANNA)
    assert await top_up(fresh, BEN) != first
    assert await top_up(fresh, CallSource(note="anna at her desk")) != first
    assert await top_up(fresh, ANNA) == first
    assert (await fresh.account()).balance_nanos == 15


async def test_the_actor_is_who_was_proved(fresh: Desk) -> None:
    """Of ledger lines and events alike, the caller's word for itself stands beside it; alone it is the actor."""
    await top_up(fresh, ANNA)
    await top_up(fresh, CallSource(note="anna at her desk"))
    async with fresh.database.reading() as tx:
        proved, said = await tx.ledger.page("acme", None, 0, 10)
    assert (proved.actor, proved.actor_note) == (ANNA.principal, "anna at her desk")
    assert (said.actor, said.actor_note) == ("anna at her desk", "")


async def test_an_event_keeps_both_parts_of_its_actor(fresh: Desk) -> None:
    """The principal, and the note beside it."""
    await fresh.create()
    async with fresh.database.writing() as tx:
        account, service = await tx.accounts.lock("acme"), await tx.services.find("acme", "chat")
        assert service is not None
        act = Act(fresh.now_us, ANNA.actor, lambda: "id")
        await set_suspended(tx, account, service, act, suspended=True)
    assert (await fresh.events())[-1].origin.actor == Actor(ANNA.principal, "anna at her desk")
