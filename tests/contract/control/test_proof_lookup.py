"""Looks for proofs: guessing is bounded, and a right proof always passes."""

import asyncio
from dataclasses import replace

import pytest

from control_service.domain.access_token import DAY_US, CredentialState
from control_service.storage.database import SqlDatabase
from control_service.usecases.access.proof_lookup import ProofLookup
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.last_uses import LastUses
from control_service.usecases.resolve_credential import Certificate, Credentials
from tallygate._access.role import Role
from tallygate._access.token_text import token_text
from tallygate._server.clock import ManualClock
from tests.harness.control.access import ALICE, ROBOT, SEAL, Made, bound, made_token, store, with_secret

VALID, UNKNOWN = CredentialState.VALID, CredentialState.UNKNOWN


class Looks:
    """A lookup on a database, whose looks are counted."""

    def __init__(self, database: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = ManualClock()
        self.uses = LastUses(database, self.clock)
        self.signal = ChangeSignal()
        self.lookup = ProofLookup(database, self.clock, Credentials(SEAL), self.uses, self.signal)
        self.count = 0
        reading = database.reading

        def counted() -> object:
            self.count += 1
            return reading()

        monkeypatch.setattr(database, "reading", counted)

    async def states(self, *made: Made) -> list[CredentialState]:
        found = await asyncio.gather(*(self.lookup.resolve(one.shown) for one in made))
        return [one.state for one in found]


@pytest.fixture
def looks(database: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(database, monkeypatch)


async def test_wrong_secrets_share_looks_and_the_right_one_passes(database: SqlDatabase, looks: Looks) -> None:
    """A hundred guesses at one token take two looks, and the right proof among them passes; other tokens are free."""
    right, other = made_token(ROBOT), made_token(ALICE, 2)
    async with database.writing() as tx:
        await store(tx, right.token, other.token, bound(ROBOT, Role.METER), bound(ALICE, Role.OWNER))
    guesses = [with_secret(right, number, 1, 1) for number in range(2, 102)]
    assert await looks.states(guesses[0]) == [UNKNOWN]
    assert looks.count == 1
    states = await looks.states(*guesses[:50], right, *guesses[50:])
    assert (states.count(VALID), states.count(UNKNOWN), states[50]) == (1, 100, VALID)
    assert looks.count == 2
    looks.signal.announce()
    assert await looks.states(other) == [VALID]
    assert looks.count == 3


async def test_a_pause_ends(database: SqlDatabase, looks: Looks) -> None:
    """After it a look is made at once again; what changed meanwhile counts."""
    right = made_token(ROBOT)
    async with database.writing() as tx:
        await store(tx, right.token, bound(ROBOT, Role.METER))
    new = with_secret(right, 2, 1, 1)
    assert await looks.states(new) == [UNKNOWN]
    async with database.writing() as tx:
        await tx.access_tokens.save(new.token)
    assert await looks.states(new) == [VALID]


async def test_a_right_proof_is_remembered_for_a_moment(database: SqlDatabase, looks: Looks) -> None:
    """For half a second, and until this process changes anything; never past its end."""
    made = made_token(ROBOT)
    limited = replace(made.token, expire_us=looks.clock.now_us() + 10)
    uri = "spiffe://example.org/robot"
    async with database.writing() as tx:
        await store(tx, limited, bound(ROBOT, Role.METER), bound(f"certificate:{uri}", Role.METER))
    for _ in range(3):
        assert await looks.states(made) == [VALID]
        assert (await looks.lookup.resolve(Certificate(uri))).state is VALID
    assert looks.count == 2
    looks.clock.advance(us=10)
    assert await looks.states(made) == [CredentialState.EXPIRED]
    async with database.writing() as tx:
        await tx.bindings.delete(await tx.bindings.of([f"certificate:{uri}"]))
    assert (await looks.lookup.resolve(Certificate(uri))).state is VALID
    looks.clock.advance(us=500_000)
    assert (await looks.lookup.resolve(Certificate(uri))).state is UNKNOWN


async def test_what_this_process_changes_counts_at_once(database: SqlDatabase, looks: Looks) -> None:
    """A token that is revoked here opens nothing here any more."""
    made = made_token(ROBOT)
    async with database.writing() as tx:
        await store(tx, made.token, bound(ROBOT, Role.METER))
    assert await looks.states(made) == [VALID]
    async with database.writing() as tx:
        await tx.access_tokens.save(replace(made.token, disabled=True))
    assert await looks.states(made) == [VALID]
    looks.signal.announce()
    assert await looks.states(made) == [CredentialState.REVOKED]


async def test_made_up_ids_take_no_look(looks: Looks) -> None:
    """However many they are."""
    made_up = [replace(made_token(), text=_other_id(made_token(number=number).text)) for number in range(100)]
    assert set(await looks.states(*made_up)) == {UNKNOWN}
    assert looks.count == 0


async def test_the_last_use_is_written_once_a_day(database: SqlDatabase, looks: Looks) -> None:
    """Apart from the calls, and only what is not known of the day."""
    made = made_token(ROBOT)
    async with database.writing() as tx:
        await store(tx, made.token, bound(ROBOT, Role.METER))
    today_us = looks.clock.now_us() - looks.clock.now_us() % DAY_US
    for day_us in (today_us, today_us + DAY_US):
        await looks.states(made)
        await looks.uses.flush()
        async with database.reading() as tx:
            found = await tx.access_tokens.find(made.token.token_id)
        assert found is not None
        assert found.last_use_day_us == day_us
        looks.signal.announce()
        await looks.states(made)
        assert looks.uses._by_day == {}
        looks.clock.advance(us=DAY_US)


def _other_id(text: str) -> str:
    """The text of a token with the last letter of its id changed, and a checksum that is right."""
    token_id = text.split("_")[1]
    changed = token_id[:-1] + ("a" if token_id[-1] != "a" else "b")
    return token_text(changed, bytes(32))
