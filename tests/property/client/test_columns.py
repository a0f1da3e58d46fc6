"""A client against a node that holds it to the contract, for arbitrary orders of what may happen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st

from tallygate.client.request import MeteredRequest
from tallygate.client.state import RequestState
from tallygate.client.values import Usage
from tallygate.metering.v1 import decision_pb2
from tallygate.metering.v1.metering_service_pb2 import MeterResponse
from tests.harness.client.session_harness import SERVICE, Desk, state_of
from tests.harness.client.stream_model import AUTHORIZE, FINISH, PROGRESS, Heard, StreamModel, total_of

VALID_FOR = Duration(seconds=20)
CEILING_STEP = 40


@dataclass(eq=False)
class Story:
    """One client, and the streams that it has one after the other."""

    chance: Random
    desk: Desk = field(default_factory=Desk)
    stream: StreamModel = field(default_factory=StreamModel)
    on_its_way: deque[Heard] = field(default_factory=deque)
    """Reports that the node has heard, and not answered."""
    running: list[MeteredRequest] = field(default_factory=list)
    waiting: dict[str, MeteredRequest] = field(default_factory=dict)
    """Authorised, and not answered."""
    ended: dict[str, Usage] = field(default_factory=dict)
    """The final counts of each request."""
    recorded: dict[str, Usage] = field(default_factory=dict)
    ceilings: dict[str, int] = field(default_factory=dict)
    resumes: dict[str, bytes] = field(default_factory=dict)
    """The last resume token of each request that has reached the client."""
    refused: set[str] = field(default_factory=set)
    entries: int = 0

    def open(self) -> None:
        number = len(self.waiting) + len(self.running) + len(self.ended) + len(self.refused)
        state = RequestState(f"r{number}", SERVICE, input_tokens=10, estimated=self.chance.random() < 0.2)
        self.desk.session.open(state)
        self.waiting[state.request_id] = MeteredRequest(self.desk.session, state, wants_receipt=False)

    def count(self, request: MeteredRequest) -> None:
        reasoning = self.chance.choice([0, 0, 0, 3])
        request.output(self.chance.randint(0, 9), reasoning=reasoning)
        if self.chance.random() < 0.8:
            request.report()

    def correct(self, request: MeteredRequest) -> None:
        """Better counts; of the output, sometimes fewer, or sorted otherwise."""
        known = request.usage
        output = max(0, known.output_tokens + self.chance.randint(-3, 5))
        reasoning = max(0, known.reasoning_tokens + self.chance.choice([-2, 0, 0, 1]))
        cached = self.chance.choice([known.cached_input_tokens, 4])
        request.set_usage(Usage(known.input_tokens, cached, 0, output, reasoning), estimated=self.chance.random() < 0.2)
        request.report()

    def finish(self, request: MeteredRequest) -> None:
        self.running.remove(request)
        self.ended[request.request_id] = request.usage
        request.finish()

    def send(self) -> None:
        message = self.desk.session.outbox.take(self.desk.now_ns)
        if message is not None:
            heard = self.stream.take(message)
            for each in heard:
                self.check(each)
            self.on_its_way.extend(heard)
            self.entries += len(message.columns.handles)

    def check(self, heard: Heard) -> None:
        """What only this client's own past can say."""
        report = heard.report
        if report.service and report.request_id in self.resumes:
            assert report.resume == self.resumes[report.request_id]

    def answer(self, most: int) -> None:
        """Some of what was heard, in order; denials, raised grants, and what is durable."""
        response = MeterResponse(grants_valid_for=VALID_FOR, columns_handles_max=self.stream.handles_max)
        if self.stream.offered:
            response.columns_handles_max = 0
        answered: list[Heard] = []
        for _ in range(min(most, len(self.on_its_way))):
            heard = self.on_its_way.popleft()
            answered.append(heard)
            self.decide(heard, response)
        through = answered[-1].sequence if answered else self.stream.answered_through
        response.answered_through = response.durable_through = through
        self.stream.answer(through)
        self.desk.session.receive(response)
        for decision in response.decisions:
            if decision.verdict == decision_pb2.VERDICT_DENY:
                self.stream.denied.add(decision.request_id)
        self.begin()

    def decide(self, heard: Heard, response: MeterResponse) -> None:
        report = heard.report
        request_id = report.request_id
        if report.phase == FINISH:
            usage = report.usage
            self.recorded[request_id] = Usage(
                usage.input_tokens, usage.cached_input_tokens, 0, usage.output_tokens, usage.reasoning_tokens
            )
            return
        if request_id in self.refused or self.chance.random() < 0.03:
            self.refused.add(request_id)
            response.decisions.add(
                sequence=heard.sequence, request_id=request_id, verdict=decision_pb2.VERDICT_DENY, message="Stop now."
            )
            return
        ceiling = self.ceilings.get(request_id, 0)
        if report.phase != AUTHORIZE and 2 * total_of(report.usage) <= ceiling:
            return
        ceiling = self.ceilings[request_id] = ceiling + CEILING_STEP
        resume = self.resumes[request_id] = f"{request_id}@{ceiling}".encode()
        if heard.handle and self.chance.random() < 0.9:
            response.grants.sequences.append(heard.sequence)
            response.grants.handles.append(heard.handle)
            response.grants.output_ceiling_tokens.append(ceiling)
            response.grants.resume.append(resume)
            return
        grant = decision_pb2.Grant(output_ceiling_tokens=ceiling, valid_for=VALID_FOR, resume=resume)
        response.decisions.add(
            sequence=heard.sequence, request_id=request_id, verdict=decision_pb2.VERDICT_ALLOW, grant=grant
        )

    def begin(self) -> None:
        for request_id, request in list(self.waiting.items()):
            state = state_of(request)
            if state.denial is not None:
                del self.waiting[request_id]
                self.desk.session.withdraw(state)
            elif state.grant is not None:
                del self.waiting[request_id]
                self.desk.begin(state)
                self.running.append(request)

    def break_stream(self) -> None:
        """What was not answered may have been heard, or not; the next node may have columns, few handles, or none."""
        self.on_its_way.clear()
        self.stream = StreamModel(handles_max=self.chance.choice([0, 3, 3, 1_000, 1_000, 1_000]))
        self.desk.lose_stream()

    def step(self) -> None:
        kind = self.chance.random()
        if kind < 0.12:
            self.open()
        elif kind < 0.55 and self.running:
            self.count(self.chance.choice(self.running))
        elif kind < 0.60 and self.running:
            self.correct(self.chance.choice(self.running))
        elif kind < 0.64 and self.running:
            self.finish(self.chance.choice(self.running))
        elif kind < 0.82:
            self.send()
        elif kind < 0.99:
            self.answer(self.chance.randint(0, 12))
        else:
            self.break_stream()

    def settle(self) -> None:
        """Everything is said and answered."""
        while len(self.desk.session.outbox) or self.on_its_way:
            self.send()
            self.answer(1_000)


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_client_keeps_to_the_contract_and_nothing_is_lost(seed: int) -> None:
    """Whatever breaks: what was said last of a running request is what it counts, and every finish is on record."""
    story = Story(Random(seed))
    story.break_stream()
    for _ in range(400):
        story.step()
    story.settle()
    for request in story.running:
        request.report()
    story.settle()

    for request in story.running:
        said, counted = story.stream.latest[request.request_id], request.usage
        assert (said.usage.output_tokens, said.usage.reasoning_tokens) == (
            counted.output_tokens,
            counted.reasoning_tokens,
        )
        assert said.usage.cached_input_tokens == counted.cached_input_tokens
        if said.phase == PROGRESS:
            assert said.estimated == state_of(request).estimated
        grant = request.grant
        assert grant is not None
        assert (grant.output_ceiling_tokens, grant.resume) == (
            story.ceilings[request.request_id],
            story.resumes[request.request_id],
        )
    assert story.recorded == {**story.recorded, **story.ended}


def test_most_progress_of_a_node_with_columns_goes_by_entries() -> None:
    """Else the test above would hold without columns, too."""
    story = Story(Random(1))
    story.stream = StreamModel(handles_max=1_000)
    story.desk.lose_stream()
    for _ in range(2_000):
        story.step()
    assert story.entries > 200
