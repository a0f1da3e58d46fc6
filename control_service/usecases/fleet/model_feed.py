"""The feed of models: which model each name means that nodes follow, an id or an alias, as end users write it.

A name is followed before it is looked up, and the greater version wins, so that no change is lost in between. One that
means nothing is followed as well: it may become an alias.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from control_service.domain.errors import InvalidRequestError
from control_service.usecases.batches import in_batches
from control_service.usecases.fleet.key_configs import ModelConfig
from control_service.usecases.fleet.watcher import Watcher
from control_service.usecases.ports import Database, Transaction

FOLLOWED_MAX: Final = 100_000
"""Maximum number of models' names that one stream follows."""


class ModelFeed:
    """All models' names that nodes follow by streams of this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # The id of the model that each name means; empty for none, and until its first look-up.
        self._means: dict[str, str] = {}
        self._versions: dict[str, int] = {}
        # Names to look up with the next change of any model: until their first look-up.
        self._unresolved: dict[str, None] = {}
        self._called: dict[str, dict[str, None]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no stream follows any name."""
        return not self._means

    async def subscribe(self, watcher: Watcher, texts: Collection[str]) -> None:
        """Notifies the watcher of what these mean, and of every change to it from now on.

        Raises:
            InvalidRequestError: the stream would follow too many.
            StorageUnavailableError: the database fails.
        """
        if watcher.models.count + len(texts) > FOLLOWED_MAX:
            path, problem = "subscription.subscribe_models", f"a stream follows at most {FOLLOWED_MAX} models' names"
            raise InvalidRequestError([(path, problem)])
        fresh = watcher.models.follow(texts)
        for each in fresh:
            if each not in self._means:
                self._means[each] = ""
                self._unresolved[each] = None
        for batch in in_batches(fresh):
            async with self._database.reading() as tx:
                version = await tx.config_version()
            await self._push(batch, version, [watcher])

    def unsubscribe(self, watcher: Watcher, texts: Collection[str], watchers: Collection[Watcher]) -> None:
        """Stops notifying the watcher of these."""
        watcher.models.unfollow(texts)
        self.forget_unfollowed(texts, watchers)

    def forget_unfollowed(self, texts: Iterable[str], watchers: Collection[Watcher]) -> None:
        """Forgets those of these that no watcher follows."""
        for each in list(texts):
            if each in self._means and not any(each in watcher.models.keys for watcher in watchers):
                self._index(each, "")
                del self._means[each]
                self._unresolved.pop(each, None)
                self._versions.pop(each, None)

    async def affected(self, tx: Transaction, model_ids: Collection[str]) -> list[str]:
        """Names that are followed and may mean another model since these changed: what they were and are called."""
        if not model_ids:
            return []
        names = {*model_ids, *await tx.models.names_of(model_ids)}
        affected = dict.fromkeys(name for name in sorted(names) if name in self._means)
        affected |= dict.fromkeys(name for model_id in sorted(model_ids) for name in self._called.get(model_id, ()))
        return list(affected | self._unresolved)

    async def push(self, texts: Collection[str], version: int, watchers: Collection[Watcher]) -> None:
        """Notifies watchers of what these mean, as of this version or a later one. Raises StorageUnavailableError."""
        for batch in in_batches(texts):
            await self._push(batch, version, watchers)

    async def _push(self, texts: list[str], version: int, watchers: Collection[Watcher]) -> None:
        async with self._database.reading() as tx:
            found = await tx.models.called(texts)
        for each in texts:
            config = ModelConfig(each, found.get(each, ""), version)
            if each in self._means and self._versions.get(each, -1) <= version:
                self._versions[each] = version
                self._unresolved.pop(each, None)
                self._index(each, config.model_id)
            for watcher in watchers:
                watcher.notify_model(config)

    def _index(self, each: str, model_id: str) -> None:
        before = self._means[each]
        if before == model_id:
            return
        if before:
            called = self._called[before]
            called.pop(each, None)
            if not called:
                del self._called[before]
        if model_id:
            self._called.setdefault(model_id, {})[each] = None
        self._means[each] = model_id
