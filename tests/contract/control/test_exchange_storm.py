"""Nodes, all at once, over a network that loses, repeats and delays: the books agree after every round."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import pytest

from control_service.domain.budget import BudgetKind
from control_service.domain.errors import SupersededError
from control_service.domain.service import Service
from control_service.storage.database import SqlDatabase
from control_service.usecases.exchange import Answer
from control_service.usecases.settlement import Stated
from tallygate._server.database import create_engine
from tests.contract.control.fleet_kit import FleetNode, Kit

FUNDS = 200_000
QUOTA = 20_000
TPM = 6_000
ROUNDS = 25


@dataclass
class Slice:
    """A lease as its node sees it."""

    service: Service
    kind: BudgetKind
    lease_id: str
    granted: int = 0
    consumed: int = 0
    returned: int = 0
    held: int = 0
    closing: bool = False

    @property
    def free(self) -> int:
        return max(0, self.granted - self.consumed - self.returned - self.held)


class StormyNode:
    """A node that obeys its leases, behind a bad network."""

    def __init__(self, node: FleetNode, services: Sequence[Service], rng: random.Random) -> None:
        self.node = node
        self.rng = rng
        self.serial = 0
        self.slices = [
            self._slice(service, kind)
            for service in services
            for kind in (BudgetKind.MONEY, BudgetKind.TRIAL, BudgetKind.RESERVATION_OUTPUT)
        ]
        self.settled: list[Slice] = []

    def _slice(self, service: Service, kind: BudgetKind) -> Slice:
        self.serial += 1
        return Slice(service, kind, f"{self.node.name}-{self.serial}")

    def work(self) -> None:
        """Requests begin and end; leases are given back and given up."""
        for part in self.slices:
            part.held += self.rng.randint(0, part.free)
            used = self.rng.randint(0, part.held)
            part.held -= used
            part.consumed += self.rng.randint(0, used)
            if self.rng.random() < 0.2:
                part.returned += part.free
            if self.rng.random() < 0.05:
                part.held, part.closing = 0, True

    async def talk(self) -> None:
        """One exchange, which may be lost on its way, on its way back, or arrive twice."""
        parts = [part for part in self.slices if self.rng.random() < 0.8]
        stated = [self._state(part) for part in parts]
        fate = self.rng.random()
        if fate < 0.1:
            self.node.exchange_number += 1
            return
        answers = await self.node.exchange(*stated)
        if fate < 0.3:
            with pytest.raises(SupersededError):
                await self.node.exchange(*stated, number=self.node.exchange_number)
            self.node.exchange_number -= 1
        if fate > 0.2:
            self._hear(parts, answers)

    def _state(self, part: Slice) -> Stated:
        most = {BudgetKind.MONEY: 40_000, BudgetKind.TRIAL: 4_000, BudgetKind.RESERVATION_OUTPUT: 2_000}[part.kind]
        levels = {
            "consumed_units": part.consumed,
            "returned_units": part.returned,
            "held_units": part.held,
            "wanted_units": self.rng.randint(0, most),
            "needed_units": self.rng.choice((0, self.rng.randint(0, most))),
            "closing": part.closing,
        }
        stated = self.node.state(part.service, part.kind, **levels)
        return replace(stated, statement=replace(stated.statement, lease_id=part.lease_id))

    def _hear(self, parts: Sequence[Slice], answers: Sequence[Answer]) -> None:
        for part, answer in zip(parts, answers, strict=True):
            part.granted = max(part.granted, answer.granted_units)
            if answer.closed:
                self.slices.remove(part)
                self.settled.append(part)
                self.slices.append(self._slice(part.service, part.kind))

    @property
    def every(self) -> list[Slice]:
        return self.slices + self.settled


@pytest.fixture
async def replicas(kit: Kit, database_url: str) -> AsyncIterator[list[Kit]]:
    """Two of them, each with its own connections; they share a clock."""
    engine = create_engine(database_url)
    yield [kit, Kit(SqlDatabase(engine), kit.clock)]
    await engine.dispose()


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_books_agree_in_a_storm(kit: Kit, replicas: list[Kit], seed: int) -> None:
    """Leased, spent, held and the ledger agree after every round; nothing is overspent; at rest all else is free."""
    rng = random.Random(seed)
    services = []
    for account_id in ("one", "two"):
        await kit.account(account_id, funds=FUNDS)
        for service_id in ("chat", "code"):
            service = await kit.service(
                service_id, account_id=account_id, trial_tokens=QUOTA, postpaid=True, output_tpm=TPM
            )
            services += [service]
    nodes = [StormyNode(await kit.node(f"node-{name}"), rng.sample(services, 4), rng) for name in "abcdef"]
    start_us = kit.now_us
    for _ in range(ROUNDS):
        for node in nodes:
            node.work()
            node.node.kit = rng.choice(replicas)
        await asyncio.gather(*(node.talk() for node in nodes), *(replica.sweeper.tick() for replica in replicas))
        kit.clock.advance(us=rng.randint(0, 3_000_000))
        for account_id in ("one", "two"):
            mine = [service for service in services if service.account_id == account_id]
            await kit.assert_conserved(*mine, account_id=account_id)
    for node in nodes:
        for part in node.every:
            part.closing = True
        await node.node.exchange(*(node._state(part) for part in node.every))
    await _assert_at_rest(kit, services, [part for node in nodes for part in node.every], start_us)


async def _assert_at_rest(kit: Kit, services: Sequence[Service], parts: Sequence[Slice], start_us: int) -> None:
    def consumed(kind: BudgetKind, *of: Service) -> int:
        return sum(part.consumed for part in parts if part.kind is kind and part.service in of)

    for account_id in ("one", "two"):
        account = await kit.read_account(account_id)
        mine = [service for service in services if service.account_id == account_id]
        assert account.spent_nanos == consumed(BudgetKind.MONEY, *mine) <= FUNDS
        assert account.available_nanos == FUNDS - account.spent_nanos
    for service in services:
        trial = (await kit.read_service(service)).trial
        assert trial is not None
        assert trial.spent_tokens == consumed(BudgetKind.TRIAL, service) <= QUOTA
        assert (trial.leased_tokens, trial.held_tokens) == (0, 0)
        rate = await kit.read_bucket(service)
        assert rate.spent_units == consumed(BudgetKind.RESERVATION_OUTPUT, service)
        assert rate.spent_units <= TPM + TPM * (kit.now_us - start_us) // 60_000_000
        assert rate.leased_units == 0
