"""One call, done once however often it is repeated."""

import asyncio

import pytest

from control_service.domain.account import Account
from control_service.domain.errors import IdempotencyKeyReusedError, RefusedError, ResourceExistsError
from control_service.domain.ledger import LedgerEntryKind, Line
from control_service.usecases.idempotent_call import Act, Call, EncodedResponse
from control_service.usecases.people.lifecycle import change_service
from control_service.usecases.people.payments import BookedLine, pay
from control_service.usecases.people.trial_claim import claim_trial
from control_service.usecases.ports import ResponseKey, Transaction
from tests.harness.control.people_harness import Desk


async def top_up(desk: Desk, call: Call, amount_nanos: int = 5) -> bytes:
    async def change(tx: Transaction, account: Account, act: Act) -> BookedLine:
        return await pay(tx, account, Line(LedgerEntryKind.TOP_UP, amount_nanos, ""), act)

    return await desk.idempotent_calls.of_account(
        "acme", call, change, lambda booked: EncodedResponse(repr(booked).encode())
    )


async def test_a_repeat_gets_the_same_answer(desk: Desk) -> None:
    """The same key with the same arguments changes nothing and is answered byte for byte as before."""
    call = Call("TopUpAccount", "key", b"hash")
    first = await top_up(desk, call)
    desk.clock.advance(60)
    await desk.pay(1)
    assert await top_up(desk, call) == first
    assert (await desk.account()).balance_nanos == 6


async def test_other_arguments_under_the_same_key_are_refused(desk: Desk) -> None:
    """A key stands for one call; other arguments under it are an error, and change nothing."""
    await top_up(desk, Call("TopUpAccount", "key", b"hash"))
    with pytest.raises(IdempotencyKeyReusedError):
        await top_up(desk, Call("TopUpAccount", "key", b"other"))
    assert (await desk.account()).balance_nanos == 5


async def test_without_a_key_every_call_counts(desk: Desk) -> None:
    """An empty key guards nothing."""
    for _ in range(2):
        await top_up(desk, Call("TopUpAccount", "", b"hash"))
    assert (await desk.account()).balance_nanos == 10


async def test_a_refusal_is_not_kept(desk: Desk) -> None:
    """A call that failed changed nothing, so its key is free for when it may succeed."""
    call = Call("ClaimFreeTrial", "key", b"hash")

    async def claim(service_id: str) -> bytes:
        return await desk.idempotent_calls.of_account(
            "acme",
            call,
            lambda tx, account, act: change_service(tx, account, service_id, claim_trial, act),
            lambda view: EncodedResponse(view.derived.status.encode()),
        )

    await desk.create("chat")
    await desk.claim("default-llama")
    with pytest.raises(RefusedError):
        await claim("chat")
    async with desk.database.reading() as tx:
        assert await tx.responses.find(ResponseKey("acme", "", call.method, call.idempotency_key)) is None


async def test_repeats_at_the_same_time_take_effect_once(desk: Desk) -> None:
    """Ten calls with one key at once are one call; ten names created at once under one id are one account."""
    call = Call("TopUpAccount", "key", b"hash")
    answers = await asyncio.gather(*(top_up(desk, call) for _ in range(10)))
    assert len(set(answers)) == 1
    assert (await desk.account()).balance_nanos == 5
    created = await asyncio.gather(*(desk.create_account("bolt") for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(result, Account) for result in created) == 1
    assert sum(isinstance(result, ResourceExistsError) for result in created) == 9
