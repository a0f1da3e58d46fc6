"""Fault isolation: each of many keys is dealt with by itself, so that one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Final, TypeVar

import structlog

from control_service.domain.errors import StorageUnavailableError
from tallygate._server.clock import Clock

SET_ASIDE_NS: Final = 10_000_000_000
"""Time after which a key that failed is tried again."""

Key = TypeVar("Key", bound=Hashable)

_log = structlog.get_logger(__name__)


class FaultIsolation:
    """Runs a function over keys, and sets the keys that fail aside for a while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # By what is done and key: when to try again.
        self._set_aside: dict[Hashable, int] = {}

    async def run_each(self, what: str, keys: Iterable[Key], deal_with: Callable[[Key], Awaitable[None]]) -> None:
        """Deals with each key by itself. A key that fails is logged, and set aside for `SET_ASIDE_NS`.

        Args:
            what: what is done, for the log and to tell keys of different kinds apart.
            keys: in the order in which they are dealt with.
            deal_with: called with each key that is not set aside.

        Raises:
            StorageUnavailableError: the database fails, so that the rest would fail as well.
        """
        for key in keys:
            now_ns = self._clock.monotonic_ns()
            if self._set_aside.get((what, key), now_ns) > now_ns:
                continue
            self._set_aside.pop((what, key), None)
            try:
                await deal_with(key)
            except StorageUnavailableError:
                raise
            except Exception:  # noqa: BLE001  # logged; the others are due all the same
                self._set_aside[what, key] = now_ns + SET_ASIDE_NS
                _log.exception("one_of_many_failed", what=what, key=key)
