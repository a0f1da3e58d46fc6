"""Inference servers under load: they know what they generated, said, and were told is durable."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tallygate.client import ClientSettings, Denied, MeteringClient, MeteringError, Unreachable

PATIENT = ClientSettings(close_ms=120_000, answer_ms=8_000)


@dataclass(slots=True)
class Truth:
    """What one request used: at most `reported_tokens`, all of it on record if `durable`."""

    service: str
    reported_tokens: int = 0
    durable: bool = False


@dataclass(slots=True)
class Load:
    """Several servers, each with a stream of its own. `truths`: by request id, of those that were allowed."""

    addresses: Sequence[str]
    services: Sequence[str]
    seed: int
    truths: dict[str, Truth] = field(default_factory=dict)
    denials: Counter[str] = field(default_factory=Counter)
    begun: int = 0

    async def run(self, servers: int, stop: asyncio.Event) -> None:
        """Until `stop`, and until all that was finished is durable. Raises Unreachable if it never is."""
        await asyncio.gather(*(self._serve(number, stop) for number in range(servers)))

    async def _serve(self, number: int, stop: asyncio.Event) -> None:
        chance = random.Random(self.seed * 1_000 + number)
        addresses = list(self.addresses)
        chance.shuffle(addresses)
        async with MeteringClient(addresses, settings=PATIENT) as client:
            running: set[asyncio.Task[None]] = set()
            while not stop.is_set():
                task = asyncio.create_task(self._live(client, chance))
                running.add(task)
                task.add_done_callback(running.discard)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(chance.uniform(0.0, 0.1)):
                        await stop.wait()
            await asyncio.gather(*running)
        for truth in self.truths.values():
            truth.durable = True

    async def _live(self, client: MeteringClient, chance: random.Random) -> None:
        self.begun += 1
        request_id, service = f"r{self.begun}", chance.choice(list(self.services))
        input_tokens, target_tokens = chance.randrange(500), chance.choice((0, 3, 40, 300, 1_500))
        request = client.request(service, request_id=request_id, input_tokens=input_tokens)
        try:
            await request.authorize()
        except Denied as denied:
            self.denials[denied.reason] += 1
            return
        except MeteringError as error:
            self.denials[type(error).__name__] += 1
            return
        try:
            while (wanted := target_tokens - request.usage.output_tokens) and (free := await request.wait_for_tokens()):
                request.output(min(free, wanted, chance.randint(1, 200)))
                await asyncio.sleep(chance.uniform(0.0, 0.3))
        except Unreachable:
            self.denials["Unreachable while running"] += 1
        request.finish(want_receipt=False)
        self.truths[request_id] = Truth(service, request.usage.total_tokens)
