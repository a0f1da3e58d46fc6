"""What passes under rate rules over minutes: the rate, whatever is asked for, and no more than was promised."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from metering_service.domain.rate_rule import RateMetric
from tests.harness.metering.node_harness import Fleet
from tests.harness.metering.rules import Caller, put_rule
from tests.harness.metering.services import with_money

PLENTY = 1 << 50
SECOND_US = 1_000_000
TOTAL = RateMetric.TOTAL_TOKENS
OUTPUT = RateMetric.OUTPUT_TOKENS


@dataclass
class Load:
    """Requests at some nodes, which are told what passes when."""

    fleet: Fleet
    used: list[tuple[int, int]] = field(default_factory=list)
    """Tokens and when they were used, in microseconds: input as a request begins, output as it is generated."""

    def note(self, tokens: int) -> None:
        self.used.append((self.fleet.clock.now_us(), tokens))

    def between(self, from_s: float, to_s: float, start_us: int) -> int:
        """All that was used from one second to another one."""
        first, last = start_us + int(from_s * SECOND_US), start_us + int(to_s * SECOND_US)
        return sum(tokens for at_us, tokens in self.used if first < at_us <= last)

    def most_in_a_minute(self) -> int:
        """The most that was used in any 60 s."""
        most, total, first = 0, 0, 0
        for at_us, tokens in self.used:
            total += tokens
            while self.used[first][0] <= at_us - 60 * SECOND_US:
                total -= self.used[first][1]
                first += 1
            most = max(most, total)
        return most


@dataclass
class Streams:
    """Requests that stream for a while, as many as are let in."""

    load: Load
    server: Caller
    input_tokens: int
    output_tokens: int
    step_tokens: int
    name: str
    started: int = 0
    cut: int = 0
    open: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def begin(self) -> None:
        """Ask for one more."""
        self.started += 1
        request_id = f"{self.name}{self.started}"
        self.server.ask(request_id, self.input_tokens, max_output_tokens=self.output_tokens)
        self.asked.append((request_id, self.server.client.sequence))

    def hear(self) -> None:
        """Those that were let in begin, also where it took a while."""
        answers = dict(self.server.client.decisions)
        for request_id, sequence in self.asked:
            decision = answers.get(sequence)
            if decision is not None and decision.allowed:
                self.open[request_id] = 0
                self.load.note(self.input_tokens)
        self.asked = [asked for asked in self.asked if asked[1] not in answers]
        self.server.client.decisions.clear()

    def generate(self) -> None:
        """Each of them goes on for one step, and ends when it has all; none may be stopped."""
        self.server.client.hear()
        self.hear()
        for request_id, so_far in list(self.open.items()):
            tokens = min(self.output_tokens, so_far + self.step_tokens)
            self.load.note(tokens - so_far)
            if tokens == self.output_tokens:
                self.server.finish(request_id, self.input_tokens, tokens)
                del self.open[request_id]
                continue
            self.open[request_id] = tokens
            decision = self.server.progress(request_id, self.input_tokens, tokens)
            self.cut += decision is not None and not decision.allowed


def pass_time(fleet: Fleet, seconds: int, step: Callable[[int], None], *, step_s: int = 1) -> None:
    """So long, with something that happens in each step."""
    for number in range(seconds // step_s):
        fleet.run(seconds=step_s)
        step(number)


@pytest.mark.parametrize("nodes", [("a",), ("a", "b", "c")])
def test_what_passes_is_the_rate(nodes: tuple[str, ...]) -> None:
    """Under steady overload, long streams included: the rate within 1 %, and no answer is cut."""
    limit, burst = 6_000, 500
    fleet = Fleet(*nodes)
    with_money(fleet, PLENTY)
    put_rule(fleet, limit, metric=TOTAL, burst=burst)
    load = Load(fleet)
    short = [Streams(load, Caller(fleet, name), 10, 20, 20, f"s-{name}-") for name in nodes]
    long = [Streams(load, Caller(fleet, name), 20, 200, 4, f"l-{name}-") for name in nodes]
    below_zero = 0

    def step(number: int) -> None:
        nonlocal below_zero
        for streams in (*short, *long):
            before = len(load.used)
            streams.generate()
            below_zero += sum(tokens for _, tokens in load.used[before:] if streams in long)
        # The long ones are few, and the rest of the rate is asked for several times over.
        streams = long[number % len(long)]
        if len(streams.open) < 2:
            streams.begin()
        for _ in range(6):
            short[number % len(short)].begin()

    start_us = fleet.clock.now_us()
    pass_time(fleet, 200, step)
    used = load.between(20, 200, start_us)
    assert abs(used - 3 * limit) <= limit * 3 // 100, used
    assert load.most_in_a_minute() <= limit + burst + below_zero
    assert not any(streams.cut for streams in (*short, *long))


def test_long_streams_throttle_nobody() -> None:
    """Streams of five minutes under a rule of a minute pass the rate, not a fifth of it; and no more than it."""
    limit = 30_000
    fleet = Fleet("a")
    with_money(fleet, PLENTY)
    put_rule(fleet, limit, metric=OUTPUT)
    load = Load(fleet)
    # Of 5,000 tokens each in 5 minutes; almost 10 a minute are asked for, of which 6 fit.
    streams = Streams(load, Caller(fleet), 0, 5_000, 84, "l")

    def step(number: int) -> None:
        streams.generate()
        if number % 5:
            streams.begin()

    start_us = fleet.clock.now_us()
    pass_time(fleet, 3_000, step, step_s=5)
    used = load.between(600, 3_000, start_us)
    assert abs(used - 40 * limit) <= 40 * limit // 100, used
    assert not streams.cut
