"""What one stream follows of one kind, and what of it is yet to be sent: the latest of each, not a queue of changes."""

from collections.abc import Hashable, Iterable
from itertools import islice
from typing import Generic, Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Versioned(Protocol):
    """A configuration with the version that it came with."""

    @property
    def version(self) -> int:
        """The greater one is the later one."""


Config = TypeVar("Config", bound=Versioned)


class Followed(Generic[Key, Config]):
    """Followed keys, the version of each that was taken last, and the configurations that wait to be sent."""

    def __init__(self) -> None:
        self._versions: dict[Key, int] = {}
        self._waiting: dict[Key, Config] = {}

    def __bool__(self) -> bool:
        """Whether anything waits to be sent."""
        return bool(self._waiting)

    @property
    def keys(self) -> Iterable[Key]:
        """What is followed."""
        return self._versions

    @property
    def count(self) -> int:
        """The number of keys that are followed."""
        return len(self._versions)

    def follow(self, keys: Iterable[Key]) -> list[Key]:
        """Follows these keys; returns those that were not followed before, each once."""
        fresh = [key for key in dict.fromkeys(keys) if key not in self._versions]
        self._versions.update(dict.fromkeys(fresh, -1))
        return fresh

    def unfollow(self, keys: Iterable[Key]) -> None:
        """Follows these keys no longer."""
        for key in keys:
            self._versions.pop(key, None)
            self._waiting.pop(key, None)

    def notify(self, key: Key, config: Config) -> bool:
        """Takes a configuration to send, if its key is followed and no later version was taken; whether it was."""
        known_version = self._versions.get(key)
        if known_version is None or known_version >= config.version:
            return False
        self._versions[key] = config.version
        self._waiting[key] = config
        return True

    def take(self, limit: int) -> tuple[Config, ...]:
        """Removes the first of those that wait, at most `limit`, and returns them."""
        return tuple(self._waiting.pop(key) for key in list(islice(self._waiting, limit)))
