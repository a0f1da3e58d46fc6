"""Retention: what has ended goes when it is old, in batches.

That is: leases, pots of limits, responses, tokens, API keys, audit entries, events, alerts and deliveries. The ledger
is a book, and stays (see `LedgerRollUp`).

A closed lease is deleted only once its node has reported that all leases of that epoch are settled: a statement on an
unknown lease counts as the first one, so its consumption would be booked twice. Time alone never makes that safe. A
settled lease stays for its time as well, for people and for those who compare the books.
"""

from __future__ import annotations

from typing import Final

import structlog

from control_service.domain.alert import ALERTS_KEPT_US
from control_service.domain.delivery import DELIVERIES_KEPT_US
from control_service.domain.kept_days import USUAL, KeptDays
from control_service.usecases.ports import Database
from tallygate._server.clock import Clock, SteadyWallClock

DAY_US: Final = 86_400_000_000

ENDED_POTS_KEPT_US: Final = 7 * DAY_US
"""Minimum time that a budget's pot is kept after its period or its budget ended, and after its last lease closed."""

CLOSED_LEASES_KEPT_US: Final = 7 * DAY_US
"""Minimum time that a closed lease is kept: as long as metering keeps the ids of the requests that consumed it."""

RESPONSES_KEPT_US: Final = 7 * DAY_US
"""Minimum time that a response is kept for a repeat of its call: what the contract promises."""

TOKENS_KEPT_US: Final = 30 * DAY_US
"""Time for which a token is known as revoked after its deletion, and a sign-in as expired after its end."""

KEYS_KEPT_US: Final = 7 * DAY_US
"""Time for which an API key's secret is known as revoked or expired after its end: usage is recorded for so long."""

PERIOD_NS: Final = 60_000_000_000
"""Interval between two purges when nothing old is left."""

BATCH_SIZE: Final = 500
"""Maximum number of rows that one transaction deletes, so that no other transaction waits long for it."""

_log = structlog.get_logger(__name__)


class Purge:
    """Deletes what is old. Any number of processes may purge one database."""

    def __init__(self, database: Database, clock: Clock, kept: KeptDays = USUAL) -> None:
        self._database = database
        self._clock = clock
        self._audit_kept_us = kept.audit * DAY_US
        self._wall = SteadyWallClock(clock)
        self._next_ns = clock.monotonic_ns()

    @property
    def is_due(self) -> bool:
        """Whether a tick would delete anything that is old."""
        return self._clock.monotonic_ns() >= self._next_ns

    async def tick(self) -> None:
        """Deletes a batch of each, every `PERIOD_NS`, or at once while there are more.

        Raises:
            StorageUnavailableError: the database fails.
        """
        if not self.is_due:
            return
        now_ns = self._clock.monotonic_ns()
        now_us = self._wall.now_us()
        async with self._database.writing() as tx:
            leases = await tx.leases.delete_settled(now_us - CLOSED_LEASES_KEPT_US, BATCH_SIZE)
        async with self._database.writing() as tx:
            pots = await tx.limit_pots.delete_ended(now_us - ENDED_POTS_KEPT_US, BATCH_SIZE)
        async with self._database.writing() as tx:
            rule_pots = await tx.rule_pots.delete_ended(now_us - ENDED_POTS_KEPT_US, BATCH_SIZE)
        async with self._database.writing() as tx:
            responses = await tx.responses.delete(now_us - RESPONSES_KEPT_US, BATCH_SIZE)
        async with self._database.writing() as tx:
            tokens = await tx.access_tokens.purge(now_us - TOKENS_KEPT_US, BATCH_SIZE)
        async with self._database.writing() as tx:
            keys = await tx.api_keys.purge(now_us - KEYS_KEPT_US, BATCH_SIZE)
        async with self._database.writing() as tx:
            entries = await tx.audit.delete(now_us - self._audit_kept_us, BATCH_SIZE)
        async with self._database.writing() as tx:
            events = await tx.events.delete(now_us - self._audit_kept_us, BATCH_SIZE)
        async with self._database.writing() as tx:
            alerts = await tx.alerts.delete(now_us - ALERTS_KEPT_US, BATCH_SIZE)
        async with self._database.writing() as tx:
            deliveries = await tx.deliveries.delete(now_us - DELIVERIES_KEPT_US, BATCH_SIZE)
        if leases or pots or rule_pots or responses or tokens or keys or entries or events or alerts or deliveries:
            _log.info(
                "purged",
                closed_leases=leases,
                limit_pots=pots + rule_pots,
                idempotency_answers=responses,
                ended_tokens=tokens,
                ended_keys=keys,
                audit_entries=entries,
                service_events=events,
                alerts=alerts,
                webhook_deliveries=deliveries,
            )
        if max(leases, pots, rule_pots, responses, tokens, keys, entries, events, alerts, deliveries) < BATCH_SIZE:
            self._next_ns = now_ns + PERIOD_NS
