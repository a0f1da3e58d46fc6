"""A request as its server knows it: what it generated and said of it, and was told is durable."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tallygate.metering.v1 import report_pb2, token_usage_pb2

if TYPE_CHECKING:
    from tests.simulation.keys import Shown
    from tests.simulation.simulation_harness import World

AUTHORIZE = report_pb2.REPORT_PHASE_AUTHORIZE
PROGRESS = report_pb2.REPORT_PHASE_PROGRESS
FINISH = report_pb2.REPORT_PHASE_FINISH
PHASES: dict[int, str] = {AUTHORIZE: "asks", PROGRESS: "has", FINISH: "ends with"}


BOOKED = (
    "coalesce((SELECT sum(value) FROM json_each(reserved)), 0) + coalesce((SELECT sum(value) FROM json_each(trial)), 0)"
    " + coalesce((SELECT sum(value) FROM json_each(billed)), 0)"
    " + coalesce((SELECT sum(value) FROM json_each(unfunded)), 0)"
)
"""Tokens of a record's receipt. The record's counts are the whole request's, of which other parts book theirs."""


class Said(NamedTuple):
    """Tokens by class."""

    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def total(self) -> int:
        return self.input_tokens + self.output_tokens

    def at_least(self, other: "Said") -> "Said":
        """Of each class the greater count."""
        return Said(max(self.input_tokens, other.input_tokens), max(self.output_tokens, other.output_tokens))


NOTHING_SAID = Said()


class Manner(NamedTuple):
    """How a server counts. It says `percent` of what it counted in the end, exactly or as one more estimate."""

    estimates: bool = False
    percent: int = 100
    ends_exactly: bool = True
    hangs_up: bool = False
    """Its client does, half way."""


MANNERS = (
    Manner(),
    Manner(estimates=True, percent=60),
    Manner(percent=70),
    Manner(),
    Manner(estimates=True, percent=120),
    Manner(estimates=True, percent=50, ends_exactly=False),
    Manner(),
    Manner(estimates=True, percent=0),
    Manner(estimates=True, ends_exactly=False, hangs_up=True),
)
"""By the number of the request, not by chance: so the story of what else happens stays as it is."""


@dataclass(eq=False)
class Job:
    """One request. `late`: its server goes on for a while beyond what it may."""

    request_id: str
    service: str
    input_tokens: int
    cached_tokens: int
    target_tokens: int
    max_output_tokens: int | None = None
    asks: bool = True
    late: bool = False
    silent: bool = False
    """Its server does not speak of it, whatever breaks, until it ends."""
    patience: int = 0
    """Number of times that its server asks again where that may help."""
    may_ask_again: bool = False
    unanswered: bool = False
    strays: bool = False
    """Whether it ends where it is not known, beyond its grant (see `strays.end_elsewhere`)."""
    whole: bool = False
    """Its answer comes as a whole (see `whole_answers`)."""
    hold_s: int = 0
    """With that: how long it is held for."""
    kept_hold: bool = False
    """Whether it ended within that time, and no node began a new epoch before it did."""
    shown: "Shown | None" = None
    """The API key that its end user shows."""
    output_tokens: int = 0
    final: Said | None = None
    """The counts that it reports in the end, once it has ended."""
    reported: Said = NOTHING_SAID
    """The most that was put on any stream."""
    acknowledged: Said = NOTHING_SAID
    """The most that is durable of what was said; it holds unless the end was said exactly."""
    booked_before_tokens: int = 0
    """Tokens that were booked when its server was told that its exact end is durable."""
    ceiling_tokens: int = 0
    token: bytes = b""
    valid_until_s: float = 0.0
    """By its grant alone; its stream renews it for as long as its node has word of control."""
    begun: bool = False
    denied: bool = False
    must_stop: bool = False
    is_final: bool = False
    finished: bool = False
    durable: bool = False
    is_lost: bool = False
    """The metering database was put back to an older copy after it began: its records may be lost."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def number(self) -> int:
        return int(self.request_id[1:].partition(".")[0])

    @property
    def manner(self) -> Manner:
        """How its server counts."""
        return MANNERS[0] if self.strays or self.whole else MANNERS[self.number % len(MANNERS)]

    @property
    def ends_exactly(self) -> bool:
        """Whether it has said in the end what holds, whatever was said before."""
        return self.final is not None and self.manner.ends_exactly

    @property
    def total_tokens(self) -> int:
        return self.said(FINISH).total

    def end(self) -> None:
        """It has ended. Of the output no more turns out to have been made than was granted, unless it is late."""
        percent = self.manner.percent
        output_tokens = self.output_tokens * percent // 100
        if output_tokens > self.output_tokens and not self.late:
            output_tokens = max(self.output_tokens, min(output_tokens, self.ceiling_tokens))
        self.final = Said(self.input_tokens * min(percent, 100) // 100, output_tokens)

    def take_durable(self, world: "World", phase: int, said: Said) -> None:
        """What a report of this phase said is durable."""
        if phase == FINISH and not self.durable:
            self.durable = True
            self.booked_before_tokens = booked_tokens(world, self.service, self.request_id)
        if phase != AUTHORIZE:
            self.acknowledged = self.acknowledged.at_least(said)

    def said(self, phase: int) -> Said:
        """What a report of this phase says."""
        if phase == FINISH and self.final is not None:
            return self.final
        return Said(self.input_tokens, self.output_tokens if phase != AUTHORIZE else 0)

    def final_report(self) -> report_pb2.TokenReport:
        """Its end, with its token."""
        return self.report(FINISH, resumed=True)

    def report(self, phase: int, *, resumed: bool) -> report_pb2.TokenReport:
        """What there is to say of it. Which input was cached is known at the end."""
        said = self.said(phase)
        cached = min(self.cached_tokens, said.input_tokens) if phase == FINISH else 0
        if phase != AUTHORIZE:
            self.reported = self.reported.at_least(said)
        report = report_pb2.TokenReport(
            request_id=self.request_id,
            service=self.service,
            phase=phase,  # type: ignore[arg-type]  # a number is as good as the enum's value
            usage=token_usage_pb2.TokenUsage(
                input_tokens=said.input_tokens - cached,
                cached_input_tokens=cached,
                output_tokens=said.output_tokens,
            ),
            want_receipt=phase == FINISH,
            estimated=phase != AUTHORIZE and (self.manner.estimates if phase == PROGRESS else not self.ends_exactly),
            resume=self.token if resumed else b"",
        )
        if self.shown is not None:
            self.shown.put_on(report, asks=self.asks, resumed=resumed)
        if self.max_output_tokens is not None:
            report.max_output_tokens = self.max_output_tokens
        if self.whole and phase == AUTHORIZE:
            report.whole = True
            if self.hold_s:
                report.hold_for.FromSeconds(self.hold_s)
        return report


def booked_tokens(world: "World", service: str, request_id: str) -> int:
    """What is booked of a request now."""
    (row,) = world.metering.rows(
        f"SELECT coalesce(sum({BOOKED}), 0) AS tokens FROM requests WHERE service = ? AND request_id = ?",  # noqa: S608
        service,
        request_id,
    )
    return int(row["tokens"])
