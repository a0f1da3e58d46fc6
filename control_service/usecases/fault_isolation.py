"""Many things to deal with, each by itself: one that cannot be dealt with does not stop the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Final, TypeVar

import structlog

from control_service.domain.errors import StorageUnavailableError
from tallygate._server.clock import Clock

SET_ASIDE_NS: Final = 10_000_000_000
"""What could not be dealt with is tried again after so long."""

Key = TypeVar("Key", bound=Hashable)

_log = structlog.get_logger(__name__)


class OneByOne:
    """Remembers what could not be dealt with, for a while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # What it was, and when to try again.
        self._set_aside: dict[Hashable, int] = {}

    async def each(self, what: str, keys: Iterable[Key], deal_with: Callable[[Key], Awaitable[None]]) -> None:
        """Deals with each by itself. One that fails is logged, and set aside for a while.

        Raises:
            StorageUnavailableError: the database fails, for the rest of them as well.
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
