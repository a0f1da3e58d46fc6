"""The feed of credentials: what each credential that nodes follow opens now.

A credential is followed before it is looked up, and the greater version wins, so that no change is lost in between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from control_service.domain.access_token import CredentialState, day_of
from control_service.domain.credential import ResolvedCredential
from control_service.domain.errors import InvalidRequestError, StorageUnavailableError
from control_service.domain.member import certificate_member
from control_service.usecases.access_ports import AccessChanges
from control_service.usecases.batches import in_batches
from control_service.usecases.fleet.credential_lookup import CredentialConfig, Shown, resolve_all
from control_service.usecases.fleet.watcher import Watcher
from control_service.usecases.ports import Database
from control_service.usecases.resolve_credential import Certificate, Credentials
from tallygate._server.clock import Clock

FOLLOWED_MAX: Final = 200_000
"""Maximum number of credentials that one stream follows."""

_UNREADABLE: Final = ResolvedCredential(CredentialState.UNKNOWN)
"""Stands for what a credential opens whose rows cannot be read: nothing, until they can."""

OnUse: TypeAlias = Callable[[ResolvedCredential], None]

_log = structlog.get_logger(__name__)


def nobody_is_told(_: ResolvedCredential) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """A member or a token, of which a change changes what credentials open."""

    member: str = ""
    token_id: str = ""


class CredentialFeed:
    """All credentials that nodes follow by streams of this process."""

    def __init__(
        self, database: Database, clock: Clock, credentials: Credentials, on_use: OnUse = nobody_is_told
    ) -> None:
        """`on_use` is told of the credentials that nodes follow, each once a day: their callers use them."""
        self._database = database
        self._clock = clock
        self._credentials = credentials
        self._on_use = on_use
        self._noted_day_us = day_of(clock.now_us())
        self._subjects: dict[Shown, frozenset[_Subject]] = {}
        self._versions: dict[Shown, int] = {}
        self._opens: dict[Shown, ResolvedCredential] = {}
        # Credentials to look up with the next change of anything: until their first look-up, and after one that failed.
        self._unresolved: dict[Shown, None] = {}
        self._concerned: dict[_Subject, dict[Shown, None]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no stream follows any credential."""
        return not self._subjects

    async def subscribe(self, watcher: Watcher, shown: Collection[Shown]) -> None:
        """Notifies the watcher of what these open, and of every change to it from now on.

        Raises:
            InvalidRequestError: the stream would follow too many.
            StorageUnavailableError: the database fails.
        """
        if watcher.credentials.count + len(shown) > FOLLOWED_MAX:
            path, problem = "subscription.subscribe_credentials", f"a stream follows at most {FOLLOWED_MAX} credentials"
            raise InvalidRequestError([(path, problem)])
        fresh = self._answer_known(watcher, watcher.credentials.follow(shown))
        for each in fresh:
            if each not in self._subjects:
                self._subjects[each] = frozenset()
                self._unresolved[each] = None
        for batch in in_batches(fresh):
            async with self._database.reading() as tx:
                version = await tx.config_version()
            await self._push(batch, version, [watcher])

    def _answer_known(self, watcher: Watcher, fresh: Iterable[Shown]) -> list[Shown]:
        """Answers for those that open the same for good, made-up tokens above all, so that guesses cost no look-up.

        Returns:
            The others.
        """
        rest: list[Shown] = []
        for each in fresh:
            opens = self._credentials.without_database(each)
            if opens is None:
                rest.append(each)
            else:
                watcher.notify_credential(CredentialConfig(each, opens, watcher.version_taken))
        return rest

    def unsubscribe(self, watcher: Watcher, shown: Collection[Shown], watchers: Collection[Watcher]) -> None:
        """Stops notifying the watcher of these."""
        watcher.credentials.unfollow(shown)
        self.forget_unfollowed(shown, watchers)

    def forget_unfollowed(self, shown: Iterable[Shown], watchers: Collection[Watcher]) -> None:
        """Forgets those of these that no watcher follows."""
        for each in list(shown):
            if each in self._subjects and not any(each in watcher.credentials.keys for watcher in watchers):
                self._index(each, frozenset())
                del self._subjects[each]
                self._versions.pop(each, None)
                self._opens.pop(each, None)
                self._unresolved.pop(each, None)

    async def push(self, changes: AccessChanges, version: int, watchers: Collection[Watcher]) -> None:
        """Notifies watchers of what the credentials open that these changes concern, as of this version or a later one.

        Raises:
            StorageUnavailableError: the database fails.
        """
        for batch in in_batches(self._affected(changes)):
            await self._push(batch, version, watchers)

    def note_uses(self) -> None:
        """Tells of all that are followed, where a day has begun since they were told of."""
        day_us = day_of(self._clock.now_us())
        if day_us > self._noted_day_us:
            self._noted_day_us = day_us
            for opens in self._opens.values():
                self._on_use(opens)

    def _affected(self, changes: AccessChanges) -> list[Shown]:
        """Credentials to look up again; those whose look-up has not ended may have been read before the changes."""
        subjects = [_Subject(member=member) for member in changes.members]
        subjects += [_Subject(token_id=token_id) for token_id in changes.token_ids]
        affected = dict.fromkeys(each for subject in subjects for each in self._concerned.get(subject, ()))
        return list(affected | self._unresolved) if subjects else []

    async def _push(self, shown: list[Shown], version: int, watchers: Collection[Watcher]) -> None:
        for config in await self._resolve(shown, version):
            self._take(config)
            for watcher in watchers:
                watcher.notify_credential(config)

    async def _resolve(self, shown: list[Shown], version: int) -> list[CredentialConfig]:
        """What these open. A credential whose rows cannot be read is logged, and opens nothing.

        Raises:
            StorageUnavailableError: the database fails.
        """
        try:
            async with self._database.reading() as tx:
                found = await resolve_all(tx, self._credentials, shown, self._clock.now_us())
        except StorageUnavailableError:
            raise
        except Exception:  # noqa: BLE001  # logged by each, if it is only one
            if len(shown) > 1:
                return [config for each in shown for config in await self._resolve([each], version)]
            _log.exception("credential_unreadable")
            found = [_UNREADABLE]
        return [CredentialConfig(each, opens, version) for each, opens in zip(shown, found, strict=True)]

    def _take(self, config: CredentialConfig) -> None:
        each = config.shown
        if each in self._subjects and self._versions.get(each, -1) <= config.version:
            self._versions[each] = config.version
            if config.opens.state is CredentialState.VALID:
                self._opens[each] = config.opens
                self._on_use(config.opens)
            else:
                self._opens.pop(each, None)
            if config.opens is not _UNREADABLE:
                self._unresolved.pop(each, None)
            self._index(each, _subjects_of(each, config.opens))

    def _index(self, each: Shown, subjects: frozenset[_Subject]) -> None:
        before = self._subjects[each]
        for subject in before - subjects:
            concerned = self._concerned[subject]
            del concerned[each]
            if not concerned:
                del self._concerned[subject]
        for subject in subjects - before:
            self._concerned.setdefault(subject, {})[each] = None
        self._subjects[each] = subjects


def _subjects_of(each: Shown, opens: ResolvedCredential) -> frozenset[_Subject]:
    """The token itself, or the member that a certificate is, and every member on whom it depends what this opens."""
    if isinstance(each, Certificate):
        own = _Subject(member=certificate_member(each.uri))
    else:
        own = _Subject(token_id=each.token_id)
    members = (opens.member, *opens.groups)
    return frozenset((own, *(_Subject(member=member) for member in members if member)))
