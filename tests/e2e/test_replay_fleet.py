"""Replays against several metering nodes over one database, also while one of them dies."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tallygate.replay.outcome import Outcome
from tallygate.replay.run import ReplayPlan, replay
from tallygate.replay.synthetic import synthesize
from tallygate.replay.tally import Tally
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import FOR_NOW, tallygate
from tests.harness.programs.programs import Pair

NUMBERS = itertools.count(1)
SERVICE = "accounts/acme/services/default-llama"


def prepare(pair: Pair) -> None:
    """An account with money whose default service has pay-as-you-go."""
    for command in (
        ("model", "create", "llama"),
        ("model", "publish-price", "llama", "--input", "0.20", "--output", "0.60"),
        ("account", "create", "acme"),
        ("account", "top-up", "acme", "--amount", "100"),
        ("service", "enable-postpaid", "acme/default-llama"),
    ):
        said = tallygate(*command, "--control", pair.control.address)
        assert said.status == 0, said.err


async def play(pair: Pair, nodes: list[str], tally: Tally, *, speed: int | None) -> Outcome:
    """600 requests from 8 servers spread over the nodes, all of which every server knows."""
    plan = ReplayPlan(
        service=SERVICE,
        control=pair.control.address,
        metering=[pair.programs[node].address for node in nodes],
        run_id=f"replay-fleet-{next(NUMBERS)}-",
        servers=8,
        speed=speed,
        report_every=5,
    )
    return await replay(synthesize(600, seed=3, requests_per_second=100), plan, tally, lambda _status: None)


@pytest.mark.parametrize("pair", ["postgresql"], indirect=True)
async def test_two_nodes_keep_one_book(pair: Pair) -> None:
    """Servers on two nodes: everything allowed, recorded once, charged once."""
    await pair.start_node("node-2")
    await asyncio.to_thread(prepare, pair)
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            tally = Tally()
            outcome = await play(pair, ["node-1", "node-2"], tally, speed=None)
            assert outcome.reconciled, outcome.as_json()
            if tally.allowed == 600:
                break
            assert set(tally.denials) <= FOR_NOW, tally.denials
    assert tally.finished == 600


@pytest.mark.parametrize("pair", ["postgresql"], indirect=True)
async def test_a_node_that_dies_loses_nothing(pair: Pair) -> None:
    """One of two nodes is killed under traffic: its requests go on at the other, and the tokens add up."""
    await pair.start_node("node-2")
    await asyncio.to_thread(prepare, pair)
    tally = Tally()
    playing = asyncio.create_task(play(pair, ["node-1", "node-2"], tally, speed=1))
    while tally.finished < 100:  # noqa: ASYNC110  # a tally has no event to wait for
        await asyncio.sleep(0.01)
    victim = pair.programs["node-2"]
    await victim.kill()
    await pair.start_node("node-2", victim.address)
    outcome = await playing

    assert outcome.reconciled, outcome.as_json()
    assert tally.disconnects > 0
    assert tally.acknowledged.total == tally.sent.total
