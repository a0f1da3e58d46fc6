"""Server reflection under both of its names."""

from collections.abc import Sequence
from typing import Final

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1_NAME: Final = "grpc.reflection.v1.ServerReflection"


def add_reflection(server: grpc.aio.Server, service_names: Sequence[str]) -> None:
    """Let tools ask the server for its services and their descriptions, by v1 and by v1alpha."""
    names = [*service_names, reflection.SERVICE_NAME, V1_NAME]
    reflection.enable_server_reflection(names, server)
    # v1 is v1alpha under a new package with the same messages field by field, so the v1alpha servicer speaks it too.
    handler: grpc.RpcMethodHandler[reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse] = (
        grpc.stream_stream_rpc_method_handler(
            reflection.aio.ReflectionServicer(names).ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(V1_NAME, {"ServerReflectionInfo": handler})],
    )
