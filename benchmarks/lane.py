"""One stream of the load generator: writes as fast as the window allows, notes what comes back, keeps little."""

import asyncio
import time
from collections import Counter, deque
from typing import NamedTuple, TypeAlias

import grpc

from benchmarks.wire import Cutter, Segment, message
from benchmarks.workload import Mix
from tallygate.metering.v1 import decision_pb2
from tallygate.metering.v1 import metering_service_pb2 as pb

METER = "/tallygate.metering.v1.MeteringService/Meter"
UNANSWERED_REPORTS = 1_024
"""At most so many are on the way at once, on each stream; and between 2 and 64 messages."""
NOT_DURABLE_S = 0.5
"""A server that is so far behind with its records is given time."""
PATIENCE_S = 30.0
OPENING_S = 480.0
OPENING_MESSAGE = 256
GENTLE_OPENING_MESSAGE = 32
MANY_SERVICES = 100
"""Each needs a lease of its own: where there are many, they are opened a few at a time."""

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


class Sent(NamedTuple):
    """A message on its way: the number of its last report, when it was due, how many of it ask for permission."""

    last: int
    due_s: float
    reports: int
    authorisations: int


class Lane:
    """`answered` and `durable` are the server's watermarks; `opened_at`: where the measured part began.

    `held_back_s`: so long it waited for records. What else is counted is of the measured part.
    """

    def __init__(self, call: Call, mix: Mix, *, durable: bool, services: int) -> None:
        self.mix = mix
        self.sent = self.answered = self.durable = self.opened_at = 0
        self.named = self.authorisations = self.late = 0
        self._handles_max = 0
        self.held_back_s = 0.0
        self.denials: Counter[str] = Counter()
        self._call = call
        self._records = durable
        self._not_durable_max = mix.not_durable_first
        self._gentle = services > MANY_SERVICES
        self._last_named = 0
        self._unanswered: deque[Sent] = deque()
        self._not_durable: deque[Sent] = deque()
        self._authorised_s: list[float] | None = None
        self._durable_s: list[float] | None = None
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self._cutter = Cutter(iter(()))

    def durable_lag_s(self) -> float:
        """How long ago the oldest message was due that is not durable."""
        return time.perf_counter() - self._not_durable[0].due_s if self._not_durable else 0.0

    def time_authorisations(self) -> list[float]:
        """From now on, how long each took from when it was due; the list grows."""
        self._authorised_s = []
        return self._authorised_s

    def time_durability(self) -> list[float]:
        """From now on, how long each report took to be durable; the list grows."""
        self._durable_s = []
        return self._durable_s

    async def open(self, denial: str = "") -> None:
        """Say each step of the mix's opening again until all is allowed: a server may need a moment to get leases.

        `denial`: until all of it is denied, for this reason. Raises RuntimeError if it is not, or if the server
        takes fewer handles than the mix has.
        """
        deadline_s = time.perf_counter() + OPENING_S
        for step in self.mix.opening():
            # Where it takes long, what was denied is said again, and not all that was allowed as well.
            for piece in step.pieces(GENTLE_OPENING_MESSAGE) if self._gentle else (step,):
                await self._say_until(piece, Counter({denial: piece.size} if denial else ()), deadline_s)
        if self._handles_max < self.mix.handles:
            raise RuntimeError(f"the server takes {self._handles_max} handles a stream, not {self.mix.handles}")
        self.named = self.authorisations = self.late = 0
        self.opened_at = self.answered

    async def _say_until(self, piece: Segment, denials: Counter[str], deadline_s: float) -> None:
        while True:
            self.denials.clear()
            self._cutter = Cutter(iter([piece]))
            await self._say_all()
            await self._until_durable()
            if self.denials == denials:
                return
            if time.perf_counter() > deadline_s:
                denied = dict(self.denials)
                raise RuntimeError(f"{self.answered} reports of an opening were answered, then these denied: {denied}")
            await asyncio.sleep(0.25)

    def begin(self) -> None:
        """What is sent next is the mix as it runs."""
        self._cutter = Cutter(self.mix.running())

    async def run(self, message_size: int, stop: asyncio.Event) -> None:
        """Say the mix, as fast as the server takes it, until told to stop."""
        self.begin()
        room = window(message_size, self.mix)
        while not stop.is_set():
            await self._until_room(room)
            await self.send_next(message_size)

    async def run_to_end(self, message_size: int) -> None:
        """Say a mix that has an end, as fast as the server takes it, until all of it is answered."""
        self.begin()
        await self._say_all(message_size)
        await self.until_fewer(1)

    async def close(self) -> None:
        """Finish what is open, and wait until all of it is durable."""
        self._cutter.only_rest()
        await self._say_all()
        self._cutter = Cutter(self.mix.closing())
        await self._say_all()
        await self._until_durable()
        await self._call.done_writing()
        await self._reader

    async def send_next(self, message_size: int, due_s: float = 0.0) -> bool:
        """One message of the mix; False where there is no more."""
        cut = self._cutter.cut(message_size)
        if cut is None:
            return False
        first = self.sent + 1
        self.sent += cut.count
        self.authorisations += cut.authorisations
        sent = Sent(self.sent, due_s or time.perf_counter(), cut.count, cut.authorisations)
        self._unanswered.append(sent)
        self._not_durable.append(sent)
        await self._call.write(message(first, cut.reports))
        return True

    async def until_fewer(self, messages: int) -> None:
        """Wait while so many are not answered."""
        while len(self._unanswered) >= messages:
            await self._wait()

    async def _say_all(self, message_size: int = OPENING_MESSAGE) -> None:
        room = window(message_size, self.mix)
        while await self.send_next(message_size):
            await self._until_room(room)

    async def _until_room(self, messages: int) -> None:
        await self.until_fewer(messages)
        if self._records and self._is_ahead():
            began_s = time.perf_counter()
            while self._is_ahead():
                await self._wait()
            self.held_back_s += time.perf_counter() - began_s

    def _is_ahead(self) -> bool:
        return self.sent - self.durable > self._not_durable_max or self.durable_lag_s() > NOT_DURABLE_S

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
        self.answered, self.durable = response.answered_through, response.durable_through
        while self._unanswered and self._unanswered[0].last <= self.answered:
            sent = self._unanswered.popleft()
            if self._authorised_s is not None and sent.authorisations:
                self._authorised_s += [time.perf_counter() - sent.due_s] * sent.authorisations
        while self._not_durable and self._not_durable[0].last <= self.durable:
            sent = self._not_durable.popleft()
            self._trust(sent)
            if self._durable_s is not None:
                self._durable_s += [time.perf_counter() - sent.due_s] * sent.reports
        self._handles_max = max(self._handles_max, response.columns_handles_max)
        self.named += len(response.grants.sequences)
        for decision in response.decisions:
            self._note(decision)

    def _trust(self, sent: Sent) -> None:
        """As many more may wait to be durable as became so in time; half as many after one that was late."""
        late = time.perf_counter() - sent.due_s > NOT_DURABLE_S
        more = self._not_durable_max // 2 if late else self._not_durable_max + sent.reports
        self._not_durable_max = min(self.mix.not_durable_max, max(self.mix.not_durable_first, more))

    def _note(self, decision: decision_pb2.Decision) -> None:
        self.named += 1
        if decision.sequence < self._last_named:
            self.late += 1
        else:
            self._last_named = decision.sequence
        if decision.verdict != decision_pb2.VERDICT_ALLOW:
            self.denials[decision_pb2.DecisionReason.Name(decision.reason)] += 1
