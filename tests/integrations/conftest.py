"""The real services, and the fake engine that they meter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.e2e.conftest import pair
from tests.harness.asgi.engine_harness import Serving, people, ready, serving
from tests.harness.programs.programs import Pair

__all__ = ["pair"]


@pytest.fixture
async def served(pair: Pair) -> AsyncIterator[Serving]:
    """One node, one engine, a service that runs."""
    async with people(pair) as hands:
        await hands.prepare()
    async with serving([pair.metering.address]) as served:
        async with served.client() as client:
            await ready(client)
        yield served
