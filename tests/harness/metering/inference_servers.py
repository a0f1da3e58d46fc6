"""Inference servers that obey their grants, and know what they generated, said and were is_acknowledged is durable."""

from dataclasses import dataclass, field

from metering_service.domain.counts import NOTHING, Counts, Tally
from metering_service.domain.decision import Decision
from metering_service.domain.report import Phase, Report
from tests.harness.metering.node_harness import Client, Fleet, report


@dataclass(eq=False)
class Job:
    """One request as its server knows it."""

    request_id: str
    service: str
    input_tokens: int
    cached_tokens: int = 0
    max_output_tokens: int | None = None
    output_tokens: int = 0
    ceiling_tokens: int = 0
    token: bytes = b""
    begun: bool = False
    must_stop: bool = False
    finished: bool = False
    durable: bool = False
    """Its finish is."""
    estimates: bool = False
    """Whether the counts of a running request are an estimate."""
    actual_percent: int = 100
    """Of the tokens that it counted, so many it says in the end."""
    ends_exactly: bool = True
    """Whether the server knows these; otherwise they are one more estimate."""
    said: Tally = NOTHING
    """All that was reported of it."""
    acknowledged: Tally = NOTHING
    """All of that which is durable."""

    @property
    def counts(self) -> Counts:
        """As counted so far."""
        return Counts(self.input_tokens - self.cached_tokens, self.cached_tokens, output=self.output_tokens)

    @property
    def final_counts(self) -> Counts:
        """As it says in the end."""
        return Counts(*(tokens * self.actual_percent // 100 for tokens in self.counts))

    def generate(self, tokens: int) -> None:
        """As many as it may."""
        if self.begun and not self.must_stop and not self.finished:
            self.output_tokens = min(self.output_tokens + tokens, max(self.ceiling_tokens, self.output_tokens))

    def say(self, phase: Phase, *, resumed: bool) -> Report:
        """Its latest report."""
        counts = self.final_counts if phase is Phase.FINISH else self.counts
        return report(
            phase,
            self.request_id,
            counts if phase is not Phase.AUTHORIZE else Counts(self.input_tokens),
            service=self.service,
            estimated=self.estimates if phase is Phase.PROGRESS else not self.ends_exactly,
            max_output_tokens=self.max_output_tokens,
            resume=self.token if resumed else b"",
            want_receipt=phase is Phase.FINISH,
        )


@dataclass(eq=False)
class Server:
    """One inference server: its requests, and its stream to some node."""

    fleet: Fleet
    node: str
    jobs: dict[str, Job] = field(default_factory=dict)
    stream: Client | None = None
    _said: list[tuple[int, Job, Report]] = field(default_factory=list)
    _heard: int = 0

    def connect(self, node: str) -> None:
        """Leave the old stream, if any, for a new one; say what is open and what is not durable."""
        self.disconnect()
        self.node = node
        self.stream = Client(self.fleet[node])
        for job in self.jobs.values():
            if job.finished and not job.durable:
                self.tell(job, Phase.FINISH, resumed=True)
            elif job.begun and not job.finished:
                self.tell(job, Phase.PROGRESS, resumed=True)

    def disconnect(self) -> None:
        """The stream breaks, from this end."""
        if self.stream is not None:
            self.hear()
            self.stream.close()
        self.lose()

    def lose(self) -> None:
        """The node is gone."""
        self.stream = None
        self._said.clear()
        self._heard = 0
        for job in [job for job in self.jobs.values() if not job.begun and not job.finished]:
            del self.jobs[job.request_id]

    def begin(self, job: Job) -> None:
        """Ask whether it may run."""
        self.jobs[job.request_id] = job
        self.tell(job, Phase.AUTHORIZE)

    def tell(self, job: Job, phase: Phase, *, resumed: bool = False) -> None:
        """Say the latest of a request."""
        if self.stream is not None:
            job.finished = job.finished or phase is Phase.FINISH
            said = job.say(phase, resumed=resumed)
            if phase is not Phase.AUTHORIZE:
                job.said = job.said.merge(said.tally)
            self.stream.send(said)
            self._said.append((self.stream.sequence, job, said))
            self.stream.rig.pump()
            self.hear()

    def hear(self) -> None:
        """Take in what the node said since."""
        stream = self.stream
        if stream is None:
            return
        stream.hear()
        for sequence, decision in stream.decisions[self._heard :]:
            self._take(sequence, decision)
        self._heard = len(stream.decisions)
        for sequence, job, said in self._said:
            if sequence <= stream.durable and said.phase is not Phase.AUTHORIZE:
                job.acknowledged = job.acknowledged.merge(said.tally)
                job.durable = job.durable or said.phase is Phase.FINISH
        self._said = [said for said in self._said if said[0] > stream.durable]

    def _take(self, sequence: int | None, decision: Decision) -> None:
        job = self.jobs.get(decision.request_id)
        if job is None:
            return
        if decision.grant is not None:
            job.begun = True
            job.ceiling_tokens = decision.grant.output_ceiling_tokens
            job.token = decision.grant.resume
        elif not decision.allowed and not job.begun and not job.finished:
            del self.jobs[job.request_id]
        elif not decision.allowed:
            job.must_stop = True
