"""Wrong tokens at a running node: what they cost it, and that nobody else notices them."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import grpc

from tallygate._access.token_text import ID_BYTES, SECRET_BYTES, token_id_of, token_text
from tallygate._wire.failures import decode_failure
from tallygate.metering.v1 import decision_pb2, metering_service_pb2, metering_service_pb2_grpc, report_pb2
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.guarded import guarded_fleet
from tests.harness.programs.one_service import SERVICE, enable_at

GUESSES, AT_ONCE, PROOFS = 10_000, 100, 200
FOR_NOW = "for now"
"""Word for the reasons of refusals that concern no credential, and pass by themselves."""


def authorization(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def called(channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...], request_id: str = "r") -> str:
    """The reason for which an authorisation was refused, at the gate or for now; empty where it was allowed."""
    report = report_pb2.TokenReport(request_id=request_id, service=SERVICE, phase=report_pb2.REPORT_PHASE_AUTHORIZE)
    stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
    try:
        answer = await stub.Authorize(metering_service_pb2.AuthorizeRequest(report=report), metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return decode_failure(error).reason
    decision = answer.decision
    assert decision.verdict == decision_pb2.VERDICT_ALLOW or decision.retryable, decision
    return "" if decision.verdict == decision_pb2.VERDICT_ALLOW else FOR_NOW


async def let_in(channel: grpc.aio.Channel, token: str, request_id: str) -> None:
    """Ask until it is allowed: from an address of guesses, what the node does not know yet waits for its turn."""
    while (reason := await called(channel, authorization(token), request_id)) != "":
        assert reason in {"CREDENTIAL_UNVERIFIED", FOR_NOW}, reason
        await asyncio.sleep(0.05)


async def many(count: int, call: Callable[[int], Awaitable[str]]) -> set[str]:
    """The reasons of so many calls, some at once."""
    numbers, reasons = iter(range(count)), set[str]()

    async def caller() -> None:
        for number in numbers:
            reasons.add(await call(number))

    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return reasons


def processor_s(*pids: int) -> list[float]:
    """Processor time of each of these processes so far."""
    ticks = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in pids]
    return [sum(map(int, each)) / os.sysconf("SC_CLK_TCK") for each in ticks]


async def test_guesses_cost_what_refusals_cost_and_delay_nobody(tmp_path: Path) -> None:
    """Made-up ids and wrong secrets for a token that there is: all are refused, and every right proof passes."""
    async with guarded_fleet(tmp_path) as fleet:
        await enable_at(fleet.control.address, fleet.operator)
        node = await fleet.start_node("node-1")
        known, *fresh = await fleet.tokens(PROOFS + 1)
        ids = [known.token.token_id, *(token_id_of(number.to_bytes(ID_BYTES, "big")) for number in range(7))]
        texts = [token_text(ids[number % len(ids)], number.to_bytes(SECRET_BYTES, "big")) for number in range(GUESSES)]
        async with (
            grpc.aio.insecure_channel(node.address) as guesser,
            grpc.aio.insecure_channel(node.address, options=[("grpc.use_local_subchannel_pool", 1)]) as neighbour,
            asyncio.timeout(5 * PATIENCE_S),
        ):
            await let_in(neighbour, known.text, "first")
            marks_s = [processor_s(node.pid, fleet.control.pid)]
            assert await many(GUESSES, lambda _: called(guesser, ())) == {"CREDENTIAL_MISSING"}
            marks_s.append(processor_s(node.pid, fleet.control.pid))
            guessing = asyncio.create_task(many(GUESSES, lambda number: called(guesser, authorization(texts[number]))))
            waits_ms: list[float] = []
            for number, made in enumerate(fresh):
                start_s = time.monotonic()
                await let_in(neighbour, made.text, f"fresh-{number}")
                waits_ms.append((time.monotonic() - start_s) * 1000)
            assert await guessing <= {"CREDENTIAL_INVALID", "CREDENTIAL_UNVERIFIED"}
            marks_s.append(processor_s(node.pid, fleet.control.pid))
    waits_ms.sort()
    plain, guessed = ([later - sooner for sooner, later in zip(*pair, strict=True)] for pair in pairwise(marks_s))
    print(  # noqa: T201  # by `pytest -s`
        f"{GUESSES} calls without proof: node {plain[0]:.1f} s of processor, control {plain[1]:.1f} s; as many "
        f"guesses: node {guessed[0]:.1f} s, control {guessed[1]:.1f} s; proofs that are new to the node meanwhile: "
        f"p50 {waits_ms[len(waits_ms) // 2]:.0f} ms, p99 {waits_ms[len(waits_ms) * 99 // 100]:.0f} ms"
    )
