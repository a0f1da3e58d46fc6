"""The traffic of all nodes over the last minute, second by second, as whoever looked at it has read it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from tallygate._wire.times import decode_ns
from tallygate.console.usage import PAYERS
from tallygate.metering.v1.node_traffic_pb2 import NodeTraffic

ROUNDS_MAX: Final = 61
"""Number of rounds that are kept: those of a minute, and the one before."""
ROUND_NS: Final = 900_000_000
"""Minimum time between two rounds that are kept: several people may look at once."""
GAP_NS: Final = 10_000_000_000
"""Time after which a round is too old to be compared with: nobody has looked meanwhile."""
_NS_PER_S: Final = 1_000_000_000


class Rates(NamedTuple):
    """What went through in a second, rounded down: tokens by payer, and counts."""

    tokens: dict[str, int]
    requests: int = 0
    reports: int = 0
    grants: int = 0
    denials: dict[str, int] = {}  # noqa: RUF012  # never changed

    @property
    def all_tokens(self) -> int:
        """Tokens, whoever pays."""
        return sum(self.tokens.values())


NO_RATES: Final = Rates({payer: 0 for _, payer in PAYERS})


@dataclass(frozen=True, slots=True)
class Round:
    """What the nodes said at one time, by their addresses."""

    read_ns: int
    nodes: Mapping[str, NodeTraffic]


class TrafficLog:
    """The last rounds."""

    def __init__(self) -> None:
        self._rounds: deque[Round] = deque(maxlen=ROUNDS_MAX)

    def add(self, nodes: Mapping[str, NodeTraffic], now_ns: int) -> None:
        """Take a round, unless the one before was just now."""
        if self._rounds and now_ns - self._rounds[-1].read_ns > GAP_NS:
            self._rounds.clear()
        if not self._rounds or now_ns - self._rounds[-1].read_ns >= ROUND_NS:
            self._rounds.append(Round(now_ns, nodes))

    def seconds(self) -> Iterator[Rates]:
        """The rates of all nodes together from each round to the next, the oldest first."""
        rounds = list(self._rounds)
        for before, after in pairwise(rounds):
            yield added(self._rates(before, after).values())

    def latest(self) -> dict[str, Rates]:
        """The rates of each node from the last round but one to the last; none where there are not two."""
        return self._rates(self._rounds[-2], self._rounds[-1]) if len(self._rounds) > 1 else {}

    @staticmethod
    def _rates(before: Round, after: Round) -> dict[str, Rates]:
        return {
            address: _rates(before.nodes[address], traffic)
            for address, traffic in after.nodes.items()
            if address in before.nodes and _follows(before.nodes[address], traffic)
        }


def added(rates: Iterable[Rates]) -> Rates:
    """The rates of several nodes together."""
    every = list(rates)
    denials: dict[str, int] = {}
    for one in every:
        for reason, count in one.denials.items():
            denials[reason] = denials.get(reason, 0) + count
    return Rates(
        {payer: sum(one.tokens[payer] for one in every) for _, payer in PAYERS},
        sum(one.requests for one in every),
        sum(one.reports for one in every),
        sum(one.grants for one in every),
        denials,
    )


def _follows(before: NodeTraffic, after: NodeTraffic) -> bool:
    """Whether both are of one epoch of a node: counters of another one began at zero."""
    same = (before.node, before.epoch) == (after.node, after.epoch)
    return same and decode_ns(after.running_for) > decode_ns(before.running_for)


def _rates(before: NodeTraffic, after: NodeTraffic) -> Rates:
    elapsed_ns = decode_ns(after.running_for) - decode_ns(before.running_for)

    def rate(now: int, then: int) -> int:
        return (now - then) * _NS_PER_S // elapsed_ns

    return Rates(
        tokens={
            payer: rate(getattr(after.payers, f"{payer}_tokens"), getattr(before.payers, f"{payer}_tokens"))
            for _, payer in PAYERS
        },
        requests=rate(after.booked_request_count, before.booked_request_count),
        reports=rate(after.report_count, before.report_count),
        grants=rate(after.grant_count, before.grant_count),
        denials={
            reason: rate(count, before.denial_counts.get(reason, 0)) for reason, count in after.denial_counts.items()
        },
    )
