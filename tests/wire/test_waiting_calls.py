"""What a server waits for while nobody calls."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control_service.api.errors import translate
from tallygate._server.grpc.server import GrpcServer
from tallygate.control.v1 import account_service_pb2, account_service_pb2_grpc


def add_accounts(server: grpc.aio.Server) -> None:
    """A service with many methods."""
    servicer = account_service_pb2_grpc.AccountServiceServicer()  # type: ignore[abstract]  # none is called
    account_service_pb2_grpc.add_AccountServiceServicer_to_server(servicer, server)


async def tasks_of(*, has_accounts: bool) -> int:
    """Number of tasks of a server that has started, and answers."""
    before = asyncio.all_tasks()
    server = GrpcServer(
        listen="127.0.0.1:0",
        insecure=False,
        service_names=[],
        add_servicers=add_accounts if has_accounts else lambda _: None,
        translate=translate,
    )
    address = await server.start()
    started = asyncio.all_tasks() - before
    async with grpc.aio.insecure_channel(address) as channel:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    await server.stop(0)
    return len(started)


async def test_a_method_more_is_nothing_more_to_wait_for() -> None:
    """Each call would pay for all that is waited for."""
    assert len(account_service_pb2.DESCRIPTOR.services_by_name["AccountService"].methods) > 5
    assert await tasks_of(has_accounts=True) == await tasks_of(has_accounts=False)
