"""The feed of API keys: what each hash of a key that nodes follow opens now.

A hash is followed before it is looked up, and the greater version wins, so that no change is lost in between. A hash
that nobody has is followed as well: when its key is made, whoever asked for it is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import structlog

from control_service.domain.api_key import KeyState
from control_service.domain.api_key_seal import ApiKeySeal
from control_service.domain.errors import InvalidRequestError, StorageUnavailableError
from control_service.domain.limit import LimitSubject
from control_service.usecases.batches import in_batches
from control_service.usecases.fleet.key_configs import ApiKeyConfig
from control_service.usecases.fleet.limit_feed import LimitFeed
from control_service.usecases.fleet.watcher import Watcher
from control_service.usecases.ports import Database
from control_service.usecases.resolve_api_key import UNKNOWN_KEY, ResolvedKey, resolve_secrets
from tallygate._server.clock import Clock

FOLLOWED_MAX: Final = 200_000
"""Maximum number of hashes of keys that one stream follows."""

_UNREADABLE: Final = ResolvedKey(KeyState.UNKNOWN)
"""Stands for what a key opens whose rows cannot be read: nothing, until they can."""

_log = structlog.get_logger(__name__)


class ApiKeyFeed:
    """All API keys that nodes follow by streams of this process, by the SHA-256 that callers have shown."""

    def __init__(self, database: Database, clock: Clock, limits: LimitFeed, seal: ApiKeySeal | None) -> None:
        """`seal`: None where the server has no pepper, and knows no keys."""
        self._database = database
        self._clock = clock
        self._limits = limits
        self._seal = seal
        # What is stored of each, by which changes name it.
        self._followed: dict[bytes, bytes] = {}
        self._by_sealed: dict[bytes, bytes] = {}
        # Members on whom it depends what each opens, and which hashes depend on each.
        self._members: dict[bytes, tuple[str, ...]] = {}
        self._concerned: dict[str, dict[bytes, None]] = {}
        # Hashes to look up with the next change of anything: until their first look-up, and after one that failed.
        self._unresolved: dict[bytes, None] = {}
        self._versions: dict[bytes, int] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no stream follows any key."""
        return not self._followed

    async def subscribe(self, watcher: Watcher, hashes: Collection[bytes]) -> None:
        """Notifies the watcher of what these open, and of every change to it from now on.

        Raises:
            InvalidRequestError: the stream would follow too many.
            StorageUnavailableError: the database fails.
        """
        if watcher.api_keys.count + len(hashes) > FOLLOWED_MAX:
            path, problem = "subscription.subscribe_api_keys", f"a stream follows at most {FOLLOWED_MAX} keys"
            raise InvalidRequestError([(path, problem)])
        fresh = watcher.api_keys.follow(hashes)
        if self._seal is None:
            for each in fresh:
                watcher.notify_api_key(ApiKeyConfig(each, UNKNOWN_KEY, watcher.version_taken))
            return
        for each in fresh:
            if each not in self._followed:
                sealed = self._seal.hash_of(each)
                self._followed[each], self._by_sealed[sealed] = sealed, each
                self._unresolved[each] = None
        for batch in in_batches(fresh):
            async with self._database.reading() as tx:
                version = await tx.config_version()
            await self._push(batch, version, [watcher])

    def unsubscribe(self, watcher: Watcher, hashes: Collection[bytes], watchers: Collection[Watcher]) -> None:
        """Stops notifying the watcher of these."""
        watcher.api_keys.unfollow(hashes)
        self.forget_unfollowed(hashes, watchers)

    def forget_unfollowed(self, hashes: Iterable[bytes], watchers: Collection[Watcher]) -> None:
        """Forgets those of these that no watcher follows."""
        for each in list(hashes):
            if each in self._followed and not any(each in watcher.api_keys.keys for watcher in watchers):
                self._index(each, ())
                del self._by_sealed[self._followed.pop(each)]
                self._unresolved.pop(each, None)
                self._versions.pop(each, None)

    async def push(
        self, changed: Collection[bytes], members: Collection[str], version: int, watchers: Collection[Watcher]
    ) -> None:
        """Notifies watchers of what is opened by those that changed, as of this version or a later one.

        Args:
            changed: what is stored of the secrets of keys that changed, followed or not.
            members: those of whom something changed.
            version: the version.
            watchers: all streams.

        Raises:
            StorageUnavailableError: the database fails.
        """
        affected = dict.fromkeys(self._by_sealed[sealed] for sealed in changed if sealed in self._by_sealed)
        affected |= dict.fromkeys(each for member in members for each in self._concerned.get(member, ()))
        for batch in in_batches(affected | self._unresolved):
            await self._push(batch, version, watchers)

    async def _push(self, hashes: list[bytes], version: int, watchers: Collection[Watcher]) -> None:
        """Notifies watchers of what these open, of their accounts' limits before. Raises StorageUnavailableError."""
        configs = await self._look_up(hashes, version)
        needed = {config.sha256: _subjects_of(config) for config in configs}
        unread = await self._limits.follow(needed, watchers, version, lambda watcher: watcher.api_keys.keys)
        for config in configs:
            # A key that opens nothing needs no limits: its end is told, whatever cannot be read.
            if config.opens.state is KeyState.VALID and unread.intersection(needed[config.sha256]):
                self._unresolved[config.sha256] = None
                continue
            self._take(config)
            for watcher in watchers:
                watcher.notify_api_key(config)

    async def _look_up(self, hashes: list[bytes], version: int) -> list[ApiKeyConfig]:
        """What these open. A key whose rows cannot be read is logged, and opens nothing until they can be.

        Raises:
            StorageUnavailableError: the database fails.
        """
        sealed = {each: self._followed[each] for each in hashes if each in self._followed}
        try:
            async with self._database.reading() as tx:
                found = await resolve_secrets(tx, sealed.values(), self._clock.now_us())
        except StorageUnavailableError:
            raise
        except Exception:  # noqa: BLE001  # logged by each, if it is only one
            if len(sealed) > 1:
                return [config for each in sealed for config in await self._look_up([each], version)]
            _log.exception("api_key_unreadable")
            return [ApiKeyConfig(each, _UNREADABLE, version) for each in sealed]
        return [ApiKeyConfig(each, found.get(one, UNKNOWN_KEY), version) for each, one in sealed.items()]

    def _take(self, config: ApiKeyConfig) -> None:
        each = config.sha256
        if each in self._followed and self._versions.get(each, -1) <= config.version:
            self._versions[each] = config.version
            self._index(each, config.opens.members)
            if config.opens is _UNREADABLE:
                self._unresolved[each] = None
            else:
                self._unresolved.pop(each, None)

    def _index(self, each: bytes, members: tuple[str, ...]) -> None:
        for member in self._members.pop(each, ()):
            concerned = self._concerned[member]
            concerned.pop(each, None)
            if not concerned:
                del self._concerned[member]
        for member in members:
            self._concerned.setdefault(member, {})[each] = None
        if members:
            self._members[each] = members


def _subjects_of(config: ApiKeyConfig) -> tuple[LimitSubject, ...]:
    """The account whose limits requests with a key need; none where nobody has the key."""
    return () if config.opens.key is None else (LimitSubject(config.opens.key.account_id),)
