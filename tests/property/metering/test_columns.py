"""Columns, reports, bindings, finishes and other streams in any order come to what a simple model says."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.report import Phase
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, with_money

INPUT = Counts(10)
NAMES = ("r0", "r1", "r2", "r3")
HANDLES = range(5)

NAME, OUTPUT = st.sampled_from(NAMES), st.integers(0, 1_200)
STEP = st.one_of(
    st.tuples(st.just("columns"), st.dictionaries(st.sampled_from(HANDLES), OUTPUT, min_size=1)),
    st.tuples(st.just("report"), NAME, OUTPUT),
    st.tuples(st.just("elsewhere"), NAME, OUTPUT),
    st.tuples(st.just("bind"), NAME, st.sampled_from(HANDLES[1:])),
    st.tuples(st.just("finish"), NAME, OUTPUT),
    st.tuples(st.just("finish elsewhere"), NAME, OUTPUT),
    st.tuples(st.just("time"), st.just(0)),
)


class World:
    """A stream with four requests, another stream, and what must be known of each request."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        with_money(self.fleet, 10**12)
        self.client, self.other = Client(self.fleet["a"]), Client(self.fleet["a"])
        self.client.say(report(Phase.AUTHORIZE, "warm", INPUT))
        self.client.send(*(report(Phase.AUTHORIZE, name, INPUT) for name in NAMES))
        self.fleet.run(ms=200)
        self.handles: dict[int, str] = {}
        self.output = dict.fromkeys(NAMES, 0)
        self.ended: set[str] = set()

    def columns(self, output: dict[int, int]) -> None:
        entries = {handle: output[handle] for handle in sorted(output)}
        first = self.client.sequence + 1
        self.client.send_columns(entries)
        for sequence, (handle, tokens) in enumerate(entries.items(), first):
            name = self.handles.get(handle)
            if name is None:
                said = self.client.said(sequence)
                assert said is not None
                assert said.reason is Reason.INVALID_REPORT
            else:
                self._merge(name, tokens)

    def say(self, client: Client, name: str, tokens: int, **more: Any) -> None:
        client.send(report(Phase.PROGRESS, name, INPUT._replace(output=tokens), **more))
        self._merge(name, tokens)

    def bind(self, name: str, handle: int) -> None:
        self.say(self.client, name, 0, handle=handle)
        self.handles = {number: each for number, each in self.handles.items() if each != name}
        self.handles[handle] = name

    def finish(self, client: Client, name: str, tokens: int) -> None:
        if name in self.ended:
            return
        client.send(report(Phase.FINISH, name, INPUT._replace(output=tokens)))
        if client is self.client:
            self.handles = {number: each for number, each in self.handles.items() if each != name}
        self.output[name] = tokens
        self.ended.add(name)

    def _merge(self, name: str, tokens: int) -> None:
        if name not in self.ended:
            self.output[name] = max(self.output[name], tokens)

    def check(self) -> None:
        service = self.fleet["a"].node.services[SERVICE]
        for name, tokens in self.output.items():
            request = service.open.get(name) or service.finished[name]
            assert request.tally.counts.output == tokens, name


@settings(max_examples=50)
@given(st.lists(STEP, max_size=25))
def test_counts_are_what_was_said(steps: list[tuple[str, ...]]) -> None:
    """In memory at every moment; in the end all of it is durable, and after a crash it is what is booked."""
    world = World()
    for what, *facts in steps:
        match what, facts:
            case "columns", [output]:
                world.columns(output)  # type: ignore[arg-type]  # as drawn
            case "report", [name, tokens]:
                world.say(world.client, name, tokens)  # type: ignore[arg-type]
            case "elsewhere", [name, tokens]:
                world.say(world.other, name, tokens)  # type: ignore[arg-type]
            case "bind", [name, handle]:
                world.bind(name, handle)  # type: ignore[arg-type]
            case "finish", [name, tokens]:
                world.finish(world.client, name, tokens)  # type: ignore[arg-type]
            case "finish elsewhere", [name, tokens]:
                world.finish(world.other, name, tokens)  # type: ignore[arg-type]
            case _:
                world.fleet.run(ms=100)
        world.fleet["a"].pump()
        world.check()
    world.fleet.run(seconds=3)
    world.client.hear()
    assert world.client.durable == world.client.answered == world.client.sequence
    world.fleet.crash("a")
    Client(world.fleet.start("a")).say(report(Phase.AUTHORIZE, "again", max_output_tokens=0))
    world.fleet.run(seconds=40)
    booked = {record.request_id: record.receipt.usage.output for record in world.fleet.database.requests.values()}
    assert {name: booked[name] for name in NAMES} == world.output
