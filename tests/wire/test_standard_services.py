"""What any gRPC server should offer besides its services."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.server import GrpcServer
from tallygate.metering.v1 import metering_service_pb2, report_pb2
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.grpcurl import grpcurl
from tests.harness.wire.scripted_server import METERING, Serving, serving, translate

Health = health_pb2.HealthCheckResponse
REFLECTION_NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


async def health_of(it: Serving, name: str) -> Any:
    stub = health_pb2_grpc.HealthStub(it.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE_S)).status


async def test_whether_it_lives_is_told_apart_from_what_is_ready() -> None:
    """A server that has just started lives, and is ready for nothing; each name has a status of its own."""
    async with serving() as it:
        assert await health_of(it, "") == Health.SERVING
        assert await health_of(it, METERING) == Health.NOT_SERVING
        it.server.set_ready({METERING: True})
        assert await health_of(it, METERING) == Health.SERVING
        it.server.set_ready({METERING: False})
        assert await health_of(it, METERING) == Health.NOT_SERVING
        assert await health_of(it, "") == Health.SERVING


async def test_health_lists_all_names() -> None:
    """What a check says of each of them, in one answer."""
    async with serving() as it:
        it.server.set_ready({METERING: True})
        listed = await health_pb2_grpc.HealthStub(it.channel).List(health_pb2.HealthListRequest(), timeout=PATIENCE_S)
        assert {name: one.status for name, one in listed.statuses.items()} == {
            "": Health.SERVING,
            METERING: Health.SERVING,
        }
        answer = await grpcurl(it.address, "grpc.health.v1.Health/List")
        assert '"SERVING"' in answer.stdout


async def test_a_watch_hears_each_change_of_its_name_only() -> None:
    """Saying the same again, or something of another name, is no change."""
    async with serving() as it:
        watch = health_pb2_grpc.HealthStub(it.channel).Watch(health_pb2.HealthCheckRequest(service=METERING))
        heard = [(await watch.read()).status]
        for ready, is_new in ((True, True), (True, False), (False, True), (True, True)):
            it.server.set_ready({METERING: ready})
            await health_of(it, METERING)
            if is_new:
                heard.append((await watch.read()).status)
        assert heard == [Health.NOT_SERVING, Health.SERVING, Health.NOT_SERVING, Health.SERVING]
        watch.cancel()


async def test_health_of_an_unknown_name() -> None:
    """A name that the server does not have is NOT_FOUND when checked, SERVICE_UNKNOWN when watched."""
    async with serving() as it:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_of(it, "no.such.Service")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = health_pb2_grpc.HealthStub(it.channel).Watch(health_pb2.HealthCheckRequest(service="no.such.Service"))
        assert (await watch.read()).status == Health.SERVICE_UNKNOWN
        watch.cancel()


async def test_stopping_says_so_first_and_lets_calls_in_flight_finish() -> None:
    """Who watches hears NOT_SERVING and the end; a call that had begun is answered; a new one is refused."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def wait_for_release() -> None:
        entered.set()
        await release.wait()

    async with serving(wait_for_release) as it:
        it.server.set_ready({METERING: True})
        watch = health_pb2_grpc.HealthStub(it.channel).Watch(health_pb2.HealthCheckRequest(service=METERING))
        assert (await watch.read()).status == Health.SERVING
        call = asyncio.ensure_future(it.authorize())
        await entered.wait()

        stopping = asyncio.create_task(it.server.stop(grace_s=30))
        assert (await watch.read()).status == Health.NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await it.authorize()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not stopping.done()
        release.set()
        assert (await call).decision.verdict
        await stopping


async def test_stopping_cancels_what_outlasts_its_grace() -> None:
    """A call that never ends does not keep the server from ending."""
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def never_end() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(never_end) as it:
        call = asyncio.ensure_future(it.authorize())
        await entered.wait()
        await it.server.stop(grace_s=0.05)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        await asyncio.wait_for(cancelled.wait(), PATIENCE_S)


@pytest.mark.parametrize("reflection", REFLECTION_NAMES)
async def test_reflection_answers_under_both_names(reflection: str) -> None:
    """v1 and v1alpha list the same services and describe them."""
    async with serving() as it:
        ask = it.channel.stream_stream(
            f"/{reflection}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(timeout=PATIENCE_S)
        await ask.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = await ask.read()
        assert isinstance(listed, reflection_pb2.ServerReflectionResponse)
        names = {service.name for service in listed.list_services_response.service}
        assert names == {METERING, "grpc.health.v1.Health", "grpc.channelz.v1.Channelz", *REFLECTION_NAMES}
        await ask.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=METERING))
        described = await ask.read()
        assert isinstance(described, reflection_pb2.ServerReflectionResponse)
        assert described.file_descriptor_response.file_descriptor_proto
        await ask.done_writing()


async def test_grpcurl_lists_describes_and_calls() -> None:
    """A person with nothing but grpcurl and the address finds their way."""
    async with serving() as it:
        assert METERING in (await grpcurl(it.address, "list")).lines
        assert f"{METERING}.Authorize" in (await grpcurl(it.address, "list", METERING)).lines
        described = await grpcurl(it.address, "describe", "tallygate.metering.v1.TokenReport")
        assert "max_output_tokens" in described.stdout
        described = await grpcurl(it.address, "describe", f"{METERING}.Authorize")
        assert ".tallygate.metering.v1.AuthorizeRequest" in described.stdout
        assert (await grpcurl(it.address, "describe", "no.such.Symbol")).exit_code != 0
        answer = await grpcurl(it.address, f"{METERING}/Authorize", data={"report": {"requestId": "r1"}})
        assert answer.json["decision"]["verdict"] == "VERDICT_ALLOW"


async def test_channelz_shows_the_server_and_its_calls() -> None:
    """Channelz counts the calls of the server that is asked."""
    async with serving() as it:
        await it.authorize()
        stub = channelz_pb2_grpc.ChannelzStub(it.channel)
        servers = (await stub.GetServers(channelz_pb2.GetServersRequest(), timeout=PATIENCE_S)).server
        assert any(server.data.calls_succeeded >= 1 for server in servers)


async def test_a_message_too_large_is_refused_and_the_next_is_not() -> None:
    """More than the limit is RESOURCE_EXHAUSTED; the connection lives on."""
    async with serving(max_message_bytes=1_000) as it:
        large = metering_service_pb2.AuthorizeRequest(report=report_pb2.TokenReport(credential="x" * 1_000))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await it.stub.Authorize(large, timeout=PATIENCE_S)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await it.authorize()


async def test_a_port_in_use_is_said_in_one_sentence() -> None:
    """Two servers never share a port by accident."""
    async with serving() as it:
        second = GrpcServer(
            listen=it.address, insecure=False, service_names=[], add_servicers=lambda _: None, translate=translate
        )
        with pytest.raises(
            ConfigurationError, match=f"Cannot listen on {it.address}: Address already in use; choose another"
        ):
            await second.start()
        await second.stop(0)
