"""What one stream follows of limits: those of each account and model of which it follows a service or a key.

A node forgets an account's limits with the last service and key that it follows of the account, and so does its stream:
with the next one it is told again.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from control_service.domain.limit import Limit, LimitSubject

LIMITS_PER_UPDATE: Final = 2_000
"""Number of limits from which on no further account or model goes into a message."""


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """All limits of an account or a model, as of a version."""

    subject: LimitSubject
    limits: tuple[Limit, ...]
    version: int


class FollowedLimits:
    """The accounts and models whose limits a stream follows, by whom, and what of them waits to be sent."""

    def __init__(self) -> None:
        self._subjects: dict[Hashable, tuple[LimitSubject, ...]] = {}
        self._counts: Counter[LimitSubject] = Counter()
        self._versions: dict[LimitSubject, int] = {}
        self._waiting: dict[LimitSubject, LimitsConfig] = {}

    def __bool__(self) -> bool:
        """Whether anything waits to be sent."""
        return bool(self._waiting)

    @property
    def subjects(self) -> Iterable[LimitSubject]:
        """The accounts and models whose limits are followed."""
        return self._counts

    def refer(self, followed: Mapping[Any, tuple[LimitSubject, ...]]) -> list[LimitSubject]:
        """Follows the limits that these services and keys need; returns those that were not told of yet, each once."""
        for one, subjects in followed.items():
            if subjects and one not in self._subjects:
                self._subjects[one] = subjects
                self._counts.update(subjects)
        needed = dict.fromkeys(subject for subjects in followed.values() for subject in subjects)
        return [subject for subject in needed if subject not in self._versions]

    def release(self, followed: Iterable[Hashable]) -> list[LimitSubject]:
        """Follows no longer what these services and keys needed, and nothing else does; returns that."""
        ended = []
        for one in followed:
            for subject in self._subjects.pop(one, ()):
                self._counts[subject] -= 1
                if not self._counts[subject]:
                    del self._counts[subject]
                    self._versions.pop(subject, None)
                    self._waiting.pop(subject, None)
                    ended.append(subject)
        return ended

    def notify(self, config: LimitsConfig) -> bool:
        """Takes limits to send, if they are followed and no later version was taken; whether they were.

        The same version is taken again: a period that comes near makes no new one.
        """
        if config.subject not in self._counts or self._versions.get(config.subject, -1) > config.version:
            return False
        self._versions[config.subject] = config.version
        self._waiting[config.subject] = config
        return True

    def take(self) -> tuple[LimitsConfig, ...]:
        """Removes the first of those that wait, as many as go into a message, and returns them."""
        taken: list[LimitsConfig] = []
        count = 0
        for subject in list(self._waiting):
            if count >= LIMITS_PER_UPDATE:
                break
            taken.append(self._waiting.pop(subject))
            count += 1 + len(taken[-1].limits)
        return tuple(taken)
