"""Shortages: pots that had too little for a service lately, whose nodes are notified when there is more.

Shortages are in the memory of one process. The nodes that this process answered have their streams here as well, so it
is this process that can notify them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from control_service.domain.limit import LimitPotKey
from control_service.domain.payer_pots import money_of, trial_of
from control_service.domain.pot import PotKey, PotKind
from control_service.usecases.limit_pots import load_pots
from control_service.usecases.ports import Transaction
from control_service.usecases.rule_pots import WALL_CLOCK, load_rule_pots
from tallygate._server.clock import Clock

REMEMBERED_NS: Final = 5_000_000_000
"""Time after which a shortage is forgotten: by then nodes have requested again by themselves."""


@dataclass(slots=True)
class _Shortage:
    """When a pot fell short, and how many units it had left then."""

    at_ns: int
    left_units: int


@dataclass(frozen=True, slots=True)
class Replenished:
    """What nodes may request for again: services by uid, and pots of limits."""

    service_uids: Collection[str]
    limit_pots: Collection[LimitPotKey]


class Shortages:
    """The shortages that nodes were answered, by pot and service; the pot of a limit has no service."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._noted: dict[PotKey, dict[str, _Shortage]] = {}

    def note(self, pot: PotKey, service_uid: str, left_units: int) -> None:
        """Notes that a node was answered that this pot falls short of what this service needs."""
        self._noted.setdefault(pot, {})[service_uid] = _Shortage(self._clock.monotonic_ns(), left_units)

    @property
    def pots(self) -> Collection[PotKey]:
        """Pots with a shortage; shortages that are too old are forgotten first."""
        since_ns = self._clock.monotonic_ns() - REMEMBERED_NS
        for noted in self._noted.values():
            for uid in [uid for uid, last in noted.items() if last.at_ns <= since_ns]:
                del noted[uid]
        self._noted = {pot: noted for pot, noted in self._noted.items() if noted}
        return self._noted.keys()

    def ended(self, came_back: Collection[PotKey], grantable: Mapping[PotKey, int]) -> Replenished:
        """Forgets the shortages that are over; returns the services and pots for which nodes may request again.

        A shortage is over when its pot got something back, or has more to grant than when it fell short.

        Args:
            came_back: pots to which this process brought something back.
            grantable: units that each pot can grant now, whichever process brought them back.
        """
        uids: dict[str, None] = {}
        limit_pots: list[LimitPotKey] = []
        for pot in self.pots:
            noted = self._noted[pot]
            left_units = grantable.get(pot, 0)
            over = [uid for uid, last in noted.items() if pot in came_back or left_units > last.left_units]
            for uid in over:
                del noted[uid]
            if pot.limit is None:
                uids |= dict.fromkeys(over)
            elif over:
                limit_pots.append(pot.limit)
        return Replenished(list(uids), limit_pots)


async def query_grantable(tx: Transaction, pots: Collection[PotKey], now_us: int) -> dict[PotKey, int]:
    """Units that these pots can grant now. Rates are left out: nodes know when a rate will have refilled."""
    found = {key: loaded.grantable_units for key, loaded in (await load_pots(tx, pots, now_us)).items()}
    slots = [key for key in pots if key.kind is PotKind.SLOTS]
    found |= {
        key: loaded.grantable_units for key, loaded in (await load_rule_pots(tx, slots, now_us, WALL_CLOCK)).items()
    }
    owners = {key.account for key in pots}
    if any(key.kind is PotKind.MONEY for key in pots):
        for account in (await tx.batches.accounts(owners)).values():
            found[PotKey.of(account.account_id, "", PotKind.MONEY)] = money_of(account).grantable_units
    trials = {(key.account, key.service_uid) for key in pots if key.kind is PotKind.TRIAL}
    for service in await tx.batches.services(trials):
        if service.trial is not None:
            key = PotKey.of(service.account_id, service.uid, PotKind.TRIAL)
            found[key] = trial_of(service.trial).grantable_units
    return found
