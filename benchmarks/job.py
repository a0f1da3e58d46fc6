"""What the load generator is told, and what it says in the end: JSON on its stdin and stdout."""

import json
from dataclasses import asdict, dataclass, field
from typing import Final, Literal, Self

Kind = Literal[
    "stream",
    "unary",
    "settle",
    "renew",
    "pace",
    "leases",
    "control",
    "peer",
    "client",
    "steps",
    "known",
    "guess",
    "resolve",
    "shown",
    "gateway",
    "scrape",
]
CLIENT_KINDS: Final[frozenset[Kind]] = frozenset({"client", "steps"})
"""Loads of the client library itself: those of an older build are made with its own."""


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement of one server.

    `server_pids`: whose processor time and memory are looked at, their children's included. `streams` are spread over
    `addresses` in turn, and `requests` over `streams`. `run`: makes ids unique. `rate`: reports a second, for a job on
    schedule. `reports_max`: stop after so many, or when the time is up. `durable`: the server records, so what it has
    not yet recorded is bounded. `security`: fields of `Security`, by which the server is reached. `tokens`: those that
    are shown in turn. `method`: what is called of control, or by guesses, and `expected` the reason by which each of
    those is refused. `watched`: where metrics of a program are told, and where it is called, by its name.
    """

    kind: Kind
    addresses: list[str]
    server_pids: list[int]
    run: str
    services: list[str]
    seconds: float
    mix: str = "progress"
    message_size: int = 256
    streams: int = 8
    requests: int = 10_000
    rate: float = 0.0
    durable: bool = True
    reports_max: int = 0
    warm_up_seconds: float = 0.5
    security: dict[str, str] = field(default_factory=dict, repr=False)
    tokens: list[str] = field(default_factory=list, repr=False)
    method: str = ""
    expected: str = ""
    watched: dict[str, tuple[str, str]] = field(default_factory=dict)

    def to_json(self) -> str:
        """For the generator's stdin."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` made."""
        return cls(**json.loads(text))


@dataclass(slots=True)
class Result:
    """What was measured. Shares are of one; `cpu` of one core; latencies in milliseconds.

    `server_rss`: memory in the end, before anything, and once all requests were open.

    `rate`: reports (or calls) a second that were answered in the window. `durable_lag_s`: at its end, how long ago the
    oldest report was sent that was not durable. `held_back`: of the time, how much the generator waited because too
    much was not durable. `by_name`: of all reports, those that were answered by name. `late_authorisations`: answered
    out of turn, because they had to wait for something. `failure`: why there is no measurement. `server_seconds`:
    processor time of each program by itself. `window_s`: the beginning and the end of the measurement, on the clock
    that all processes of a machine share. `unverified`: calls of which the server could not say whether they are right.
    """

    rate: float = 0.0
    seconds: float = 0.0
    reports: int = 0
    client_cpu: float = 0.0
    server_cpu: float = 0.0
    server_rss_bytes: int = 0
    server_rss_before_bytes: int = 0
    server_rss_open_bytes: int = 0
    durable_lag_s: float = 0.0
    held_back: float = 0.0
    by_name: float = 0.0
    authorisations: int = 0
    late_authorisations: int = 0
    denials: dict[str, int] = field(default_factory=dict)
    finished_requests: int = 0
    finished_tokens: int = 0
    failure: str = ""
    unverified: int = 0
    server_seconds: list[float] = field(default_factory=list)
    window_s: list[float] = field(default_factory=list)
    latency_ms: dict[str, float] = field(default_factory=dict)
    series: list[dict[str, float]] = field(default_factory=list)

    def to_json(self) -> str:
        """For the generator's stdout."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` made."""
        return cls(**json.loads(text))

    @property
    def generator_was_bottleneck(self) -> bool:
        """It had no time left, and the server had."""
        return self.client_cpu > BUSY and self.server_cpu < BUSY


BUSY = 0.9
