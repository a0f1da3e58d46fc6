"""A storm of exchanges: nodes that state what they did with their leases, over a network that loses and repeats it.

Each node draws from a generator of its own, and before it awaits anything, so what it does is a function of the seed
and of the answers that it got, not of who was faster.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import pytest

from control_service.domain.errors import SupersededError
from control_service.domain.pot import PotKind
from control_service.domain.service import Service
from control_service.usecases.fleet.exchange_messages import LeaseAnswer
from control_service.usecases.fleet.lease_statement import LeaseStatement
from tests.harness.control.fleet_harness import FleetNode, Kit

FUNDS = 200_000
QUOTA = 20_000
TPM = 6_000
ROUNDS = 25
ACCOUNTS = ("one", "two")
WANTED_MAX = {PotKind.MONEY: 40_000, PotKind.TRIAL: 4_000, PotKind.RESERVATION_OUTPUT: 2_000}


@dataclass
class Slice:
    """A lease as its node sees it."""

    service: Service
    kind: PotKind
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
        self.slices = [self._slice(service, kind) for service in services for kind in WANTED_MAX]
        self.settled: list[Slice] = []

    def _slice(self, service: Service, kind: PotKind) -> Slice:
        self.serial += 1
        return Slice(service, kind, f"{self.node.name}-{self.serial}")

    def work(self) -> None:
        """Requests begin and end; leases are given back and given up."""
        for part in self.slices:
            if not part.closing:
                self._use(part)

    def _use(self, part: Slice) -> None:
        """What may happen to a lease until its node states that it is closing; from then on nothing does.

        Control gives what such a lease had left to others as soon as it takes that statement, and its answer may be
        lost. So a node that took more from the lease until it received the close would spend what others have on lease.
        The metering service offers nothing of a closing lease, and states that it is closing once nothing is held.
        """
        part.held += self.rng.randint(0, part.free)
        used = self.rng.randint(0, part.held)
        part.held -= used
        part.consumed += self.rng.randint(0, used)
        if self.rng.random() < 0.2:
            part.returned += part.free
        if self.rng.random() < 0.05:
            part.held, part.closing = 0, True

    async def exchange(self) -> None:
        """One exchange, which may be lost on its way, on its way back, or arrive twice."""
        parts = [part for part in self.slices if self.rng.random() < 0.8]
        stated = [self.state(part) for part in parts]
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
            self._receive(parts, answers)

    async def give_up(self) -> None:
        """Close all leases, in an exchange that arrives, as does its answer."""
        for part in self.every:
            part.closing = True
        await self.node.exchange(*(self.state(part) for part in self.every))

    def state(self, part: Slice) -> LeaseStatement:
        most = WANTED_MAX[part.kind]
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

    def _receive(self, parts: Sequence[Slice], answers: Sequence[LeaseAnswer]) -> None:
        for part, answer in zip(parts, answers, strict=True):
            part.granted = max(part.granted, answer.granted_units)
            if answer.closed:
                self.slices.remove(part)
                self.settled.append(part)
                self.slices.append(self._slice(part.service, part.kind))

    @property
    def every(self) -> list[Slice]:
        return self.slices + self.settled


class Storm:
    """Two accounts with two services each, and six nodes that exchange with any replica."""

    def __init__(self, replicas: Sequence[Kit], services: Sequence[Service], nodes: Sequence[StormyNode]) -> None:
        self.replicas = replicas
        self.kit = replicas[0]
        self.services = services
        self.nodes = nodes
        self._start_us = self.kit.now_us

    @classmethod
    async def brew(cls, replicas: Sequence[Kit], seed: int, make_node: Callable[..., StormyNode] = StormyNode) -> Self:
        kit = replicas[0]
        services = []
        for account_id in ACCOUNTS:
            await kit.account(account_id, funds=FUNDS)
            for service_id in ("chat", "code"):
                service = await kit.service(
                    service_id, account_id=account_id, trial_tokens=QUOTA, postpaid=True, output_tpm=TPM
                )
                services.append(service)
        nodes = []
        for name in "abcdef":
            rng = random.Random(f"{seed} {name}")
            nodes.append(make_node(await kit.node(f"node-{name}"), rng.sample(services, 4), rng))
        return cls(replicas, services, nodes)

    async def rage(self, seed: int) -> None:
        """The books agree after every round; at rest nothing is leased, and spent is what nodes consumed."""
        weather = random.Random(seed)
        for _ in range(ROUNDS):
            for node in self.nodes:
                node.work()
                node.node.kit = weather.choice(self.replicas)
            sweeps = (replica.sweeper.tick() for replica in self.replicas)
            await asyncio.gather(*(node.exchange() for node in self.nodes), *sweeps)
            self.kit.clock.advance(us=weather.randint(0, 3_000_000))
            for account_id in ACCOUNTS:
                await self.kit.assert_conserved(*self._of(account_id), account_id=account_id)
                await self._assert_within_capacity(account_id)
        for node in self.nodes:
            await node.give_up()
        await self._assert_at_rest()

    def _of(self, account_id: str) -> list[Service]:
        return [service for service in self.services if service.account_id == account_id]

    async def _assert_within_capacity(self, account_id: str) -> None:
        """Neither of money nor of a trial is more leased and spent than there is."""
        account = await self.kit.read_account(account_id)
        assert account.spent_nanos + account.leased_nanos <= FUNDS
        for service in self._of(account_id):
            trial = (await self.kit.read_service(service)).trial
            assert trial is not None
            assert trial.spent_tokens + trial.leased_tokens <= QUOTA

    async def _assert_at_rest(self) -> None:
        parts = [part for node in self.nodes for part in node.every]

        def consumed(kind: PotKind, *of: Service) -> int:
            return sum(part.consumed for part in parts if part.kind is kind and part.service in of)

        for account_id in ACCOUNTS:
            account = await self.kit.read_account(account_id)
            assert account.spent_nanos == consumed(PotKind.MONEY, *self._of(account_id))
            assert account.spent_nanos <= FUNDS
            assert account.available_nanos == FUNDS - account.spent_nanos
        for service in self.services:
            trial = (await self.kit.read_service(service)).trial
            assert trial is not None
            assert trial.spent_tokens == consumed(PotKind.TRIAL, service)
            assert trial.spent_tokens <= QUOTA
            assert (trial.leased_tokens, trial.held_tokens) == (0, 0)
            rate = await self.kit.read_bucket(service)
            assert rate.spent_units == consumed(PotKind.RESERVATION_OUTPUT, service)
            assert rate.spent_units <= TPM + TPM * (self.kit.now_us - self._start_us) // 60_000_000
            assert rate.leased_units == 0
