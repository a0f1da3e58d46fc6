"""The feed of limits: those of each account and model of which a node follows a service or a key, with or before it.

They are sent again when one changed, when a raise ends, and when a period of a budget comes near or ends.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import structlog

from control_service.domain.errors import StorageUnavailableError
from control_service.domain.limit import Budget, LimitSubject
from control_service.domain.names import parse_service
from control_service.domain.payers import Resolution, ServiceConfig
from control_service.domain.period import NEAR_US, period_at
from control_service.domain.status import Status
from control_service.usecases.batches import in_batches
from control_service.usecases.fleet.followed_limits import LimitsConfig
from control_service.usecases.fleet.watcher import Watcher
from control_service.usecases.ports import Database
from tallygate._server.clock import US_PER_SECOND, Clock

SET_BACK_US: Final = US_PER_SECOND
"""Minimum time that the wall clock must lose between two polls to count as set back: then all is sent again."""

Follows: TypeAlias = Callable[[Watcher], Iterable[Hashable]]
"""Function that says which services, or which keys, a watcher follows."""

_log = structlog.get_logger(__name__)


class LimitFeed:
    """The limits that nodes follow by streams of this process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        # The last limits of each followed account and model; None until their first lookup.
        self._latest: dict[LimitSubject, LimitsConfig | None] = {}
        # Subjects to look up again with the next change of anything: those that could not be read.
        self._unread: dict[LimitSubject, None] = {}
        self._due: list[tuple[int, LimitSubject]] = []
        self._due_us: dict[LimitSubject, int] = {}
        self._polled_us = clock.now_us()

    @property
    def is_idle(self) -> bool:
        """Whether no stream follows any limits."""
        return not self._latest

    @property
    def is_due(self) -> bool:
        """Whether time alone has changed anything that `push_due` would tell of."""
        now_us = self._clock.now_us()
        return now_us < self._polled_us - SET_BACK_US or bool(self._due and self._due[0][0] <= now_us)

    async def precede(
        self, configs: Collection[ServiceConfig], watchers: Collection[Watcher], version: int
    ) -> list[ServiceConfig]:
        """Notifies watchers of the limits that these services need, where they were not told of them.

        Returns:
            Those of the services whose limits are known, and those that let nothing in. Others must not be sent without
            limits: everything would pass.

        Raises:
            StorageUnavailableError: the database fails.
        """
        subjects = {config.name: subjects_of(config) for config in configs}
        unread = await self.follow(subjects, watchers, version, lambda watcher: watcher.follows)
        return [config for config in configs if not (_lets_in(config) and unread.intersection(subjects[config.name]))]

    async def follow(
        self,
        needed: Mapping[Any, tuple[LimitSubject, ...]],
        watchers: Collection[Watcher],
        version: int,
        followed_by: Follows,
    ) -> set[LimitSubject]:
        """Notifies watchers of the limits that these need, where they were not told of them.

        Args:
            needed: services or keys, with the accounts and models that they belong to.
            watchers: those to notify, each of what it follows.
            version: a version that was read before this call.
            followed_by: the services or keys that a watcher follows.

        Returns:
            Accounts and models whose limits could not be read.

        Raises:
            StorageUnavailableError: the database fails.
        """
        fresh: dict[LimitSubject, list[Watcher]] = {}
        for watcher in watchers:
            keys = followed_by(watcher)
            for subject in watcher.limits.refer({one: subjects for one, subjects in needed.items() if one in keys}):
                fresh.setdefault(subject, []).append(watcher)
        # Known to `push` before their lookup, so that no change is lost between the lookup and the next poll.
        asked = [subject for subject in fresh if self._latest.setdefault(subject, None) is None]
        for batch in in_batches(asked):
            await self._look_up(batch, version)
        for subject, new in fresh.items():
            self._notify(subject, new)
        return {subject for subjects in needed.values() for subject in subjects if subject in self._unread}

    async def push(self, changed: Collection[LimitSubject], version: int, watchers: Collection[Watcher]) -> None:
        """Notifies watchers of limits that changed, as of this version or a later one.

        Raises:
            StorageUnavailableError: the database fails.
        """
        affected = sorted({*changed, *self._unread}.intersection(self._latest))
        for batch in in_batches(affected):
            await self._look_up(batch, version)
            for subject in batch:
                self._notify(subject, watchers)

    def push_due(self, watchers: Collection[Watcher]) -> None:
        """Notifies watchers of limits that time alone has changed: a raise ended, a period ended or comes near."""
        now_us = self._clock.now_us()
        is_set_back = now_us < self._polled_us - SET_BACK_US
        self._polled_us = now_us
        due = sorted(self._latest) if is_set_back else self._take_due(now_us)
        for subject in due:
            config = self._latest[subject]
            if config is not None:
                self._schedule(subject, next_due_us(config, now_us))
                self._notify(subject, watchers)

    def forget_unfollowed(self, subjects: Iterable[LimitSubject], watchers: Collection[Watcher]) -> None:
        """Forgets those of these accounts and models that no watcher follows."""
        for subject in list(subjects):
            if not any(subject in watcher.limits.subjects for watcher in watchers):
                self._latest.pop(subject, None)
                self._unread.pop(subject, None)
                self._due_us.pop(subject, None)

    async def _look_up(self, subjects: list[LimitSubject], version: int) -> None:
        """Reads limits. Those that cannot be read are logged, and read again with the next change.

        Raises:
            StorageUnavailableError: the database fails.
        """
        try:
            async with self._database.reading() as tx:
                found = await tx.limits.in_force(subjects)
            self._take([LimitsConfig(subject, tuple(found.get(subject, ())), version) for subject in subjects])
        except StorageUnavailableError:
            raise
        except Exception:  # noqa: BLE001  # logged by each, if it is only one
            if len(subjects) > 1:
                for subject in subjects:
                    await self._look_up([subject], version)
                return
            _log.exception("limits_unreadable", subject=subjects[0].name)
            self._unread[subjects[0]] = None
            return

    def _take(self, configs: list[LimitsConfig]) -> None:
        now_us = self._clock.now_us()
        # Worked out for all before any is taken: a period that cannot be worked out is found here.
        due = [next_due_us(config, now_us) for config in configs]
        for config, due_us in zip(configs, due, strict=True):
            known = self._latest.get(config.subject)
            if config.subject in self._latest and (known is None or known.version <= config.version):
                self._unread.pop(config.subject, None)
                self._latest[config.subject] = config
                self._schedule(config.subject, due_us)

    def _notify(self, subject: LimitSubject, watchers: Iterable[Watcher]) -> None:
        config = self._latest.get(subject)
        if config is not None:
            for watcher in watchers:
                watcher.notify_limits(config)

    def _schedule(self, subject: LimitSubject, due_us: int | None) -> None:
        if due_us is None:
            self._due_us.pop(subject, None)
        elif self._due_us.get(subject) != due_us:
            self._due_us[subject] = due_us
            heapq.heappush(self._due, (due_us, subject))

    def _take_due(self, now_us: int) -> list[LimitSubject]:
        due = []
        while self._due and self._due[0][0] <= now_us:
            due_us, subject = heapq.heappop(self._due)
            if self._due_us.get(subject) == due_us:
                del self._due_us[subject]
                due.append(subject)
        return due


def subjects_of(config: ServiceConfig) -> tuple[LimitSubject, ...]:
    """The account and the model whose limits requests of a service need; none where there is no such service."""
    if config.terms is None:
        return ()
    account_id, _ = parse_service(config.name)
    return LimitSubject(account_id), LimitSubject(model_id=config.terms.model_id)


def next_due_us(config: LimitsConfig, now_us: int) -> int | None:
    """The next moment at which time alone changes what nodes are told of these limits; None where it never does."""
    moments = (moment for limit in config.limits if isinstance(limit, Budget) for moment in _moments(limit, now_us))
    return min(moments, default=None)


def _moments(budget: Budget, now_us: int) -> Iterable[int]:
    if budget.raised_until_us is not None and budget.raised_until_us > now_us:
        yield budget.raised_until_us
    end_us = period_at(budget.period, budget.time_zone, now_us).end_us
    if end_us is not None:
        near_us = end_us - NEAR_US
        yield near_us if near_us > now_us else end_us


def _lets_in(config: ServiceConfig) -> bool:
    """Whether nodes let requests in by this configuration, now or once all have it."""
    if config.terms is None or config.resolution is not Resolution.FOUND:
        return False
    return config.terms.status in (Status.RUNNING, Status.ACTIVATING)
