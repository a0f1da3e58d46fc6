"""Many services at once: written straight into the control database, while the control service is away.

Through the API 100,000 of them would take many minutes; what is measured is how they are used, not how they are made.
One is made through the API, and its row is the pattern for all others, so that this knows no more of the schema than
which columns make a service another one. The rest is read from the database, which may be that of an older build.
"""

import uuid

import grpc
from sqlalchemy import Connection, MetaData, Table, insert, select

from benchmarks.accounts import ACCOUNT, MODEL
from tallygate._server.database.engine import create_engine
from tallygate.control.v1 import lifecycle_service_pb2 as pb
from tallygate.control.v1 import lifecycle_service_pb2_grpc

PATTERN = "pattern"


async def make_pattern(control: str, *, suspended: bool) -> None:
    """A custom service on pay-as-you-go."""
    name = f"{ACCOUNT}/services/{PATTERN}"
    async with grpc.aio.insecure_channel(control) as channel:
        lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        await lifecycle.CreateInferenceService(pb.CreateInferenceServiceRequest(name=name, model=MODEL))
        await lifecycle.EnablePostpaid(pb.EnablePostpaidRequest(name=name))
        if suspended:
            await lifecycle.SuspendInferenceService(pb.SuspendInferenceServiceRequest(name=name))


async def multiply(control_url: str, count: int) -> list[str]:
    """So many services like the pattern, which the fleet has heard of; their names."""
    ids = [f"s{number:06d}" for number in range(count)]
    engine = create_engine(control_url)
    try:
        async with engine.begin() as connection:
            services = await connection.run_sync(_table, "services")
            pattern = (await connection.execute(select(services).where(services.c.service_id == PATTERN))).mappings()
            row = {**pattern.one(), "fleet_told": True}
            rows = [{**row, "service_id": each, "uid": uuid.uuid4().hex} for each in ids]
            await connection.execute(insert(services), rows)
    finally:
        await engine.dispose()
    return [f"{ACCOUNT}/services/{each}" for each in ids]


def _table(connection: Connection, name: str) -> Table:
    return Table(name, MetaData(), autoload_with=connection)
