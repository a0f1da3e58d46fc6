"""Bugs planted in who is let in, and in what of; servers have to prove who they are where they are looked for."""

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from control_service.usecases.fleet.credential_feed import CredentialFeed
from metering_service.usecases.access.credentials import Credentials
from metering_service.usecases.access.stream_access import StreamAccess
from metering_service.usecases.meter_stream import MeterStream
from tests.simulation.planting import mutation_of_proofs


@mutation_of_proofs
def revocation_does_not_reach_a_node() -> AbstractContextManager[Any]:
    """Of what is revoked control tells all nodes that follow it but one."""
    real = CredentialFeed.push

    async def push(self: Any, changes: Any, version: int, watchers: Any) -> None:
        await real(self, changes, version, [watcher for watcher in watchers if watcher.node != "node0"])

    return patch.object(CredentialFeed, "push", push)


@mutation_of_proofs
def binding_counts_in_another_account() -> AbstractContextManager[Any]:
    """Whoever may report on the services of one account may on those of all."""
    return patch.object(StreamAccess, "teams", lambda _self, _service: None)


@mutation_of_proofs
def streams_outlive_their_rights() -> AbstractContextManager[Any]:
    """A stream goes on when its caller has lost the role that it was opened with."""
    return patch.object(MeterStream, "rights_changed", lambda _self, _rights: None)


@mutation_of_proofs
def known_credentials_are_not_followed_again() -> AbstractContextManager[Any]:
    """On a new stream to control a node does not ask again about the credentials that it knows."""
    real = Credentials.begin_stream

    def begin_stream(self: Any) -> Any:
        real(self)
        return []

    return patch.object(Credentials, "begin_stream", begin_stream)
