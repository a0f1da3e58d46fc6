"""Cheap counters of a replay, for the display while it runs and for the reconciliation at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tallygate.client import Receipt, Usage


@dataclass(slots=True)
class Tokens:
    """Tokens by class."""

    input: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """Both."""
        return self.input + self.output

    def add(self, usage: Usage) -> None:
        """Counts one request."""
        self.input += usage.input_class_tokens
        self.output += usage.output_class_tokens


@dataclass(slots=True)
class Receipts:
    """Sums of receipts."""

    count: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    reserved: Tokens = field(default_factory=Tokens)
    trial: Tokens = field(default_factory=Tokens)
    billed: Tokens = field(default_factory=Tokens)
    unfunded: Tokens = field(default_factory=Tokens)
    overrun_tokens: int = 0
    cost_nanos: int = 0

    def add(self, receipt: Receipt) -> None:
        """Counts one receipt."""
        self.count += 1
        self.tokens.add(receipt.usage)
        self.reserved.add(receipt.reserved)
        self.trial.add(receipt.trial)
        self.billed.add(receipt.billed)
        self.unfunded.add(receipt.unfunded)
        self.overrun_tokens += receipt.overrun_tokens
        self.cost_nanos += receipt.cost_nanos


@dataclass(slots=True)
class Tally:
    """Counters of what the simulated servers did, and of the decisions that they got."""

    requests: int = 0
    """Number of requests in the workload."""
    begun: int = 0
    allowed: int = 0
    denials: Counter[str] = field(default_factory=Counter)
    """Number of denied authorisations, by reason."""
    withdrawn: set[str] = field(default_factory=set)
    """Ids of requests that no node answered in time. Where one had heard of it, there is a record of nothing used."""
    stops: Counter[str] = field(default_factory=Counter)
    """Number of requests that had to stop while they generated, by reason."""
    cut_short: int = 0
    """Number of requests that reached the ceiling of a final grant."""
    finished: int = 0
    sent: Tokens = field(default_factory=Tokens)
    """Tokens of finished requests, as the servers reported them."""
    durable: int = 0
    """Number of finishes that were acknowledged as durable."""
    acknowledged: Tokens = field(default_factory=Tokens)
    """Tokens of requests whose finish was acknowledged as durable, as the servers reported them."""
    receipts: Receipts = field(default_factory=Receipts)
    refused_finishes: Counter[str] = field(default_factory=Counter)
    gave_up: str = ""
    """Reason for which the servers stopped before the end of the workload; empty if they did not."""
    reports: int = 0
    disconnects: int = 0
    """Number of streams that broke. The receipt of a request that moved covers only what its last node booked."""

    @property
    def denied(self) -> int:
        """All authorisations that were denied."""
        return self.denials.total()
