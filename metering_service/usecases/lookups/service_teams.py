"""The team that a service belongs to, as control says it: what a caller of a team may do depends on it."""

import asyncio
from typing import Final

from metering_service.domain.errors import CredentialUnverifiedError
from metering_service.usecases.node import Node

WAIT_MAX_S: Final = 2
"""Timeout of the wait for a service that this node does not know yet."""


class ServiceTeams:
    """Looks up teams of services, which are followed from then on."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def team_of(self, account_id: str, service_id: str) -> str:
        """The id of the service's team; empty where it has none, or where there is no such service.

        Raises CredentialUnverifiedError where control does not answer in time, or too many names are asked about.
        """
        try:
            async with asyncio.timeout(WAIT_MAX_S):
                service = await self._node.known_service(f"accounts/{account_id}/services/{service_id}")
        except TimeoutError as error:
            raise CredentialUnverifiedError from error
        if service.config is None:
            raise CredentialUnverifiedError
        return service.config.team

    async def team_of_key(self, account_id: str, key_id: str) -> str:  # noqa: ARG002  # as the gate calls it
        """None: no call to a node names an API key."""
        return ""
