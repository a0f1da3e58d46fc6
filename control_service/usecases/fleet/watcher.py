"""What one node's stream has yet to send: the latest configuration of each name, not a queue of changes.

So a node that reads slowly delays no other node, and what waits for it is bounded by what it follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from control_service.domain.limit import LimitPotKey
from control_service.domain.node import LostNode
from control_service.domain.payers import ServiceConfig
from control_service.usecases.fleet.credential_lookup import CredentialConfig, Shown
from control_service.usecases.fleet.followed import Followed
from control_service.usecases.fleet.followed_limits import FollowedLimits, LimitsConfig
from control_service.usecases.fleet.key_configs import ApiKeyConfig, ModelConfig
from control_service.usecases.fleet_ports import Recall

SERVICES_PER_UPDATE: Final = 1_000
"""Maximum number of configurations in one message, so that it stays below the size that a receiver accepts."""

CREDENTIALS_PER_UPDATE: Final = 1_000
"""Maximum number of credentials in one message, for the same reason."""

API_KEYS_PER_UPDATE: Final = 32
"""Maximum number of API keys in one message, likewise: each may name hundreds of services and models."""

MODELS_PER_UPDATE: Final = 1_000
"""Maximum number of models' names in one message, likewise."""

IDS_PER_UPDATE: Final = 10_000
"""Maximum number of recalled leases in one message, and likewise of replenished services and pots; as before."""

LOST_REPEAT_NS: Final = 5_000_000_000
"""Interval at which one lost node is reported to a stream again."""

Id = TypeVar("Id", str, LimitPotKey)


@dataclass(frozen=True, slots=True)
class Update:
    """One message to a node. All changes up to `version` of names that it follows are in it or were sent before."""

    version: int
    services: tuple[ServiceConfig, ...]
    recalled_lease_ids: tuple[str, ...]
    replenished_service_uids: tuple[str, ...]
    lost_nodes: tuple[LostNode, ...] = ()
    credentials: tuple[CredentialConfig, ...] = ()
    replenished_limit_pots: tuple[LimitPotKey, ...] = ()
    limits: tuple[LimitsConfig, ...] = ()
    api_keys: tuple[ApiKeyConfig, ...] = ()
    models: tuple[ModelConfig, ...] = ()


class Watcher:
    """The pending messages of one stream, of one node and epoch. The stream ends when its watcher is dismissed."""

    def __init__(self, node: str, epoch: int, version: int) -> None:
        self.node = node
        self.epoch = epoch
        self.version_sent = 0
        self._version = version
        self._services: Followed[str, ServiceConfig] = Followed()
        self.credentials: Followed[Shown, CredentialConfig] = Followed()
        self.limits = FollowedLimits()
        self.api_keys: Followed[bytes, ApiKeyConfig] = Followed()
        self.models: Followed[str, ModelConfig] = Followed()
        self._recalls: dict[str, int] = {}
        self._recalls_due: dict[str, None] = {}
        self._replenished: dict[str, None] = {}
        self._replenished_pots: dict[LimitPotKey, None] = {}
        self._lost: dict[LostNode, int] | None = None
        self._lost_due: tuple[LostNode, ...] = ()
        self._dismissed = False
        self._error: Exception | None = None
        self._wake = asyncio.Event()
        self._wake.set()

    @property
    def version_taken(self) -> int:
        """The version up to which every change was taken."""
        return self._version

    @property
    def follows(self) -> Iterable[str]:
        """The names of services that the node follows."""
        return self._services.keys

    @property
    def follow_count(self) -> int:
        """The number of names that the node follows."""
        return self._services.count

    def follow(self, names: Iterable[str]) -> list[str]:
        """Follows these names; returns those that the node did not follow before, each once."""
        return self._services.follow(names)

    def unfollow(self, names: Iterable[str]) -> None:
        """Follows these names no longer."""
        self._services.unfollow(names)

    def notify(self, config: ServiceConfig) -> None:
        """Takes a configuration to send, if the node follows its name and no later version was taken."""
        if self._services.notify(config.name, config):
            self._wake.set()

    def notify_credential(self, config: CredentialConfig) -> None:
        """Takes what a credential opens to send, if the node follows it and no later version was taken."""
        if self.credentials.notify(config.shown, config):
            self._wake.set()

    def notify_limits(self, config: LimitsConfig) -> None:
        """Takes limits of an account or a model to send, if the node follows anything of it."""
        if self.limits.notify(config):
            self._wake.set()

    def notify_api_key(self, config: ApiKeyConfig) -> None:
        """Takes what an API key opens to send, if the node follows it and no later version was taken."""
        if self.api_keys.notify(config.sha256, config):
            self._wake.set()

    def notify_model(self, config: ModelConfig) -> None:
        """Takes which model a name means to send, if the node follows it and no later version was taken."""
        if self.models.notify(config.text, config):
            self._wake.set()

    def advance(self, version: int) -> None:
        """Notes that every change up to this version was taken."""
        if version > self._version:
            self._version = version
            self._wake.set()

    def recall(self, recalls: Iterable[Recall]) -> None:
        """Takes the recalls that are open now; each recall of a lease of this node is sent once."""
        mine = {recall.lease_id: recall.requested_us for recall in recalls if recall.node == self.node}
        fresh = [lease_id for lease_id, requested_us in mine.items() if self._recalls.get(lease_id) != requested_us]
        self._recalls = mine
        if fresh:
            self._recalls_due.update(dict.fromkeys(fresh))
            self._wake.set()

    def replenish(self, uids: Iterable[str], limit_pots: Iterable[LimitPotKey] = ()) -> None:
        """Takes services, and pots of limits, whose shortage is over, so that the node requests for them again."""
        self._replenished.update(dict.fromkeys(uids))
        self._replenished_pots.update(dict.fromkeys(limit_pots))
        if self._replenished or self._replenished_pots:
            self._wake.set()

    def report_lost(self, lost: Iterable[LostNode], now_ns: int) -> None:
        """Takes the nodes that are lost now; each but this one is sent at once and every `LOST_REPEAT_NS`.

        Those that are lost when the stream begins are sent only if they still are by then: after a time in which no
        node reached control all are lost, and come back one after the other.
        """
        others = [one for one in lost if one.name != self.node]
        sent = dict.fromkeys(others, now_ns) if self._lost is None else self._lost
        due = tuple(one for one in others if now_ns - sent.get(one, -LOST_REPEAT_NS) >= LOST_REPEAT_NS)
        self._lost = {one: now_ns if one in due else sent[one] for one in others}
        if due:
            self._lost_due = due
            self._wake.set()

    def dismiss(self, error: Exception | None = None) -> None:
        """Ends the stream: with this error, if there is one."""
        self._dismissed, self._error = True, error
        self._wake.set()

    async def next(self, heartbeat_s: float) -> Update | None:
        """The next message, as soon as there is anything to send, or an empty one after `heartbeat_s`.

        Returns:
            None when the watcher was dismissed without an error.

        Raises:
            Exception: the error with which the watcher was dismissed.
        """
        try:
            async with asyncio.timeout(heartbeat_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
        if self._error is not None:
            raise self._error
        return None if self._dismissed else self._drain()

    def _drain(self) -> Update:
        limits = self.limits.take()
        # Neither a service nor a key comes before the limits of its account and model.
        services = () if self.limits else self._services.take(SERVICES_PER_UPDATE)
        credentials = self.credentials.take(CREDENTIALS_PER_UPDATE)
        api_keys = () if self.limits else self.api_keys.take(API_KEYS_PER_UPDATE)
        models = self.models.take(MODELS_PER_UPDATE)
        is_rest_waiting = any((self._services, self.credentials, self.limits, self.api_keys, self.models))
        if not is_rest_waiting:
            self.version_sent = self._version
        update = Update(
            self.version_sent,
            services,
            recalled_lease_ids=_take(self._recalls_due),
            replenished_service_uids=_take(self._replenished),
            lost_nodes=self._lost_due,
            credentials=credentials,
            replenished_limit_pots=_take(self._replenished_pots),
            limits=limits,
            api_keys=api_keys,
            models=models,
        )
        self._lost_due = ()
        if is_rest_waiting or self._recalls_due or self._replenished or self._replenished_pots:
            self._wake.set()
        return update


def _take(ids: dict[Id, None]) -> tuple[Id, ...]:
    """Removes the first `IDS_PER_UPDATE` of these ids, and returns them."""
    taken = tuple(islice(ids, IDS_PER_UPDATE))
    for one in taken:
        del ids[one]
    return taken
