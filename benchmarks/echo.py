"""The ceiling of external processing: a server in the same language that sends back all that Envoy sends it."""

from typing import Any, Final

import grpc
import uvloop
from grpc_health.v1 import health_pb2_grpc

from tallygate._server.grpc.health import HealthServicer
from tallygate._server.process.run import announce
from tallygate.integrations.envoy import ext_proc_pb2 as wire
from tallygate.integrations.envoy.servicer import SERVICE

_HEAD: Final = wire.HeadersResponse(response=wire.CommonResponse())


def _echo(message: wire.ProcessingRequest) -> wire.ProcessingResponse:
    kind = message.WhichOneof("request")
    if kind == "request_headers":
        return wire.ProcessingResponse(request_headers=_HEAD)
    if kind == "response_headers":
        return wire.ProcessingResponse(response_headers=_HEAD)
    body = message.request_body if kind == "request_body" else message.response_body
    streamed = wire.StreamedBodyResponse(body=body.body, end_of_stream=body.end_of_stream)
    mutation = wire.BodyMutation(streamed_response=streamed)
    part = wire.BodyResponse(response=wire.CommonResponse(body_mutation=mutation))
    if kind == "request_body":
        return wire.ProcessingResponse(request_body=part)
    return wire.ProcessingResponse(response_body=part)


async def _process(_requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    while isinstance(message := await context.read(), wire.ProcessingRequest):
        await context.write(_echo(message))


async def _serve() -> None:
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(
        _process,
        request_deserializer=wire.ProcessingRequest.FromString,
        response_serializer=wire.ProcessingResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Process": handler})])
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(()), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    announce(f"127.0.0.1:{port}")
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve())
