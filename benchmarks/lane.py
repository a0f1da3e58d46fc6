"""One stream of the load generator: writes as fast as the window allows, notes what comes back, keeps little."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import TypeAlias

import grpc

from benchmarks.wire import Cutter, Segment, message
from benchmarks.workload import Mix
from tallygate.metering.v1 import decision_pb2
from tallygate.metering.v1 import metering_service_pb2 as pb

METER = "/tallygate.metering.v1.MeteringService/Meter"
UNANSWERED_REPORTS = 1_024
"""At most so many are on the way at once, on each stream; and between 2 and 64 messages."""
NOT_DURABLE_S = 0.75
"""A server that is so far behind with its records is given time."""
PATIENCE_S = 20.0

Call: TypeAlias = grpc.aio.StreamStreamCall[bytes, pb.MeterResponse]


def open_call(channel: grpc.aio.Channel) -> Call:
    """A Meter stream that takes bytes as they are."""
    multi: grpc.aio.StreamStreamMultiCallable[bytes, pb.MeterResponse] = channel.stream_stream(
        METER, request_serializer=None, response_deserializer=pb.MeterResponse.FromString
    )
    return multi()


def window(message_size: int, mix: Mix) -> int:
    """Messages that may be on the way at once."""
    return max(1, min(max(2, UNANSWERED_REPORTS // message_size), 64, mix.unanswered_max // message_size))


class Lane:
    """`answered` and `durable` are the server's watermarks; `opened_at`: where the measured part began.

    `held_back_s`: so long it waited for records. What else is counted is of the measured part.
    """

    def __init__(self, call: Call, mix: Mix, *, durable: bool) -> None:
        self.mix = mix
        self.sent = self.answered = self.durable = 0
        self.named = self.authorisations = self.late = 0
        self.opened_at = 0
        self.held_back_s = 0.0
        self.denials: Counter[str] = Counter()
        self._call = call
        self._records = durable
        self._last_named = 0
        self._unanswered: deque[int] = deque()
        self._not_durable: deque[tuple[int, float]] = deque()
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self._cutter: Cutter | None = None

    def durable_lag_s(self) -> float:
        """How long ago the oldest message was sent that is not durable."""
        return time.perf_counter() - self._not_durable[0][1] if self._not_durable else 0.0

    async def open(self) -> None:
        """Say the mix's opening again until all of it is allowed: a server may need a moment to get leases."""
        deadline_s = time.perf_counter() + PATIENCE_S
        while True:
            self.denials.clear()
            await self.say(self.mix.opening(), 256)
            await self._until_durable()
            if not self.denials or time.perf_counter() > deadline_s:
                break
            await asyncio.sleep(0.1)
        self.named = self.authorisations = self.late = 0
        self.opened_at = self.answered

    async def run(self, message_size: int, stop: asyncio.Event) -> None:
        """Say the mix until told to stop."""
        self._cutter = Cutter(self.mix.running())
        room = window(message_size, self.mix)
        while not stop.is_set():
            await self._until_room(room)
            await self._send_next(message_size)

    async def close(self) -> None:
        """Finish what is open, and wait until all of it is durable."""
        if self._cutter is not None:
            self._cutter.only_rest()
            while await self._send_next(256):
                await self._until_room(window(256, self.mix))
        await self.say(self.mix.closing(), 256)
        await self._until_durable()
        await self._call.done_writing()
        await self._reader

    async def say(self, segments: Iterator[Segment], message_size: int) -> None:
        """Say all of it."""
        self._cutter = Cutter(segments)
        while await self._send_next(message_size):
            await self._until_room(window(message_size, self.mix))

    async def _send_next(self, message_size: int) -> bool:
        assert self._cutter is not None
        cut = self._cutter.cut(message_size)
        if cut is None:
            return False
        first = self.sent + 1
        self.sent += cut.count
        self.authorisations += cut.authorisations
        self._unanswered.append(self.sent)
        self._not_durable.append((self.sent, time.perf_counter()))
        await self._call.write(message(first, cut.reports))
        return True

    async def _until_room(self, room: int) -> None:
        while len(self._unanswered) >= room:
            await self._wait()
        if self._records and self._is_ahead():
            began_s = time.perf_counter()
            while self._is_ahead():
                await self._wait()
            self.held_back_s += time.perf_counter() - began_s

    def _is_ahead(self) -> bool:
        return self.sent - self.durable > self.mix.not_durable_max or self.durable_lag_s() > NOT_DURABLE_S

    async def _until_durable(self) -> None:
        while self.durable < self.sent:
            await self._wait()

    async def _wait(self) -> None:
        if self._reader.done():
            self._reader.result()
            raise ConnectionError("the server has ended the stream")
        self._news.clear()
        async with asyncio.timeout(PATIENCE_S):
            await self._news.wait()

    async def _read(self) -> None:
        try:
            async for response in self._call:
                self._take(response)
                self._news.set()
        finally:
            self._news.set()

    def _take(self, response: pb.MeterResponse) -> None:
        self.answered = answered = response.answered_through
        self.durable = durable = response.durable_through
        while self._unanswered and self._unanswered[0] <= answered:
            self._unanswered.popleft()
        while self._not_durable and self._not_durable[0][0] <= durable:
            self._not_durable.popleft()
        for decision in response.decisions:
            self.named += 1
            if decision.sequence < self._last_named:
                self.late += 1
            else:
                self._last_named = decision.sequence
            if decision.verdict != decision_pb2.VERDICT_ALLOW:
                self.denials[decision_pb2.DecisionReason.Name(decision.reason)] += 1
