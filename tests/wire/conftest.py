"""A metering node that does as it is told, a patient client of it, and a metering database; some have their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.storage import MIGRATIONS
from tallygate._server.database.engine import create_engine
from tallygate.client import MeteringClient
from tallygate.metering.v1 import metering_service_pb2_grpc
from tests.harness.client.patient import PATIENT
from tests.harness.migrated import migrated_url
from tests.harness.wire.fake_metering import FakeMetering


@pytest.fixture(params=[0, 65_536], ids=["reports", "columns"])
def handles_max(request: pytest.FixtureRequest) -> int:
    """What nodes offer: an old one takes no columns."""
    offered: int = request.param
    return offered


@pytest.fixture
async def node() -> AsyncIterator[FakeMetering]:
    fake = FakeMetering()
    server = grpc.aio.server()
    metering_service_pb2_grpc.add_MeteringServiceServicer_to_server(fake, server)
    fake.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield fake
    await server.stop(0)
    assert not fake.wrong


@pytest.fixture
async def metering_database(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """A SQLite database with nothing in it."""
    engine = create_engine(migrated_url(tmp_path / "metering.sqlite3", MIGRATIONS))
    yield engine
    await engine.dispose()


@pytest.fixture
async def client(node: FakeMetering) -> AsyncIterator[MeteringClient]:
    async with MeteringClient(node.address, settings=PATIENT) as client:
        yield client
