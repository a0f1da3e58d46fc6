"""Bugs planted in end users' API keys: what opens, what ends, and what is counted on whose name."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from control_service.usecases.fleet.api_key_feed import ApiKeyFeed
from control_service.usecases.keys import key_changes
from metering_service.api import codec
from metering_service.domain import key_resolution
from metering_service.usecases.leases import key_intake
from metering_service.usecases.reports import key_check
from tests.simulation.planting import mutation_of_keys, together

HASH_DIGITS = 64


@mutation_of_keys
def hash_opens_what_its_key_opens() -> AbstractContextManager[Any]:
    """A text that is a key's hash counts as the key: who reads hashes somewhere has all keys."""
    real = codec._with_key

    def with_key(report: Any, credential: str) -> Any:
        is_hash = len(credential) == HASH_DIGITS and not credential.startswith("sk-")
        return report._replace(key_sha256=bytes.fromhex(credential)) if is_hash else real(report, credential)

    return patch.object(codec, "_with_key", with_key)


@mutation_of_keys
def end_of_a_key_does_not_reach_a_node() -> AbstractContextManager[Any]:
    """Of what a key opens now control tells all nodes that follow it but one."""
    real = ApiKeyFeed.push

    async def push(self: Any, changed: Any, members: Any, version: int, watchers: Any) -> None:
        await real(self, changed, members, version, [watcher for watcher in watchers if watcher.node != "node0"])

    return patch.object(ApiKeyFeed, "push", push)


@mutation_of_keys
def revoked_key_goes_on_where_it_is_known() -> AbstractContextManager[Any]:
    """A node goes by what it first heard of a key: that lets others in, and what runs by it goes on."""
    return together(
        patch.object(key_intake, "_tell_requests", lambda _node, _followed: None),
        patch.object(key_check, "key_problem", lambda *_: None),
    )


@mutation_of_keys
def rotation_makes_another_key() -> AbstractContextManager[Any]:
    """A key with a new secret has a new unique id as well, so its budgets begin anew."""
    real = key_changes._keep

    async def keep(tx: Any, before: Any, changed: Any, act: Any) -> Any:
        is_rotated = changed.secret_id != before.secret_id
        return await real(tx, before, replace(changed, uid=act.new_id()) if is_rotated else changed, act)

    return patch.object(key_changes, "_keep", keep)


@mutation_of_keys
def scope_is_not_looked_at() -> AbstractContextManager[Any]:
    """A key opens any service of its account, and those of other accounts."""
    return patch.object(key_resolution, "scope_problem", lambda _key, _config: None)
