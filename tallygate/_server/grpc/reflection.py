"""Server reflection under both of its names."""

from collections.abc import Sequence
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

V1_NAME: Final = "grpc.reflection.v1.ServerReflection"


def add_reflection(server: grpc.aio.Server, service_names: Sequence[str]) -> None:
    """Let tools ask the server for its services and their descriptions, by v1 and by v1alpha."""
    names = [*service_names, reflection.SERVICE_NAME, V1_NAME]
    servicer = reflection.aio.ReflectionServicer(names, pool=_Pool())
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    # v1 is v1alpha under a new package with the same messages field by field, so the v1alpha servicer speaks it too.
    handler: grpc.RpcMethodHandler[reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse] = (
        grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
    )
    server.add_registered_method_handlers(V1_NAME, {"ServerReflectionInfo": handler})


class _Pool:
    """The default pool, which by itself finds messages and services, but neither their fields nor their methods."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """The file that defines the symbol, or what the symbol is part of. Raises KeyError where there is none."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindFileContainingSymbol(symbol.rpartition(".")[0])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)
