"""Both services, running."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.programs import Pair
from tests.postgres import fresh_database


@pytest.fixture
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    """A control service and a metering node, over SQLite unless the test asks for "postgresql" as its parameter."""
    async with AsyncExitStack() as stack:
        if getattr(request, "param", "sqlite") == "postgresql":
            server_url = request.getfixturevalue("postgres_url")
            urls = [await stack.enter_async_context(fresh_database(server_url)) for _ in range(2)]
        else:
            urls = [f"sqlite:///{tmp_path}/{name}.sqlite3" for name in ("control", "metering")]
        control_url, metering_url = urls
        pair = Pair(tmp_path, control_url, metering_url)
        stack.push_async_callback(pair.kill)
        await pair.start_control()
        await pair.start_node("node-1")
        yield pair
        await pair.stop()
