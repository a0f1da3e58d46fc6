"""A channel on which somebody of `known_callers` makes each call."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from typing_extensions import override

from tests.harness.wire.known_callers import Metadata, presenting


@asynccontextmanager
async def calling(address: str, name: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel that proves with each call that it comes from the caller of this name."""
    proof = presenting(name)
    interceptors: list[grpc.aio.ClientInterceptor] = [_UnaryProof(proof), _StreamProof(proof)]
    async with grpc.aio.insecure_channel(address, interceptors=interceptors) as channel:
        yield channel


class _Proof:
    def __init__(self, proof: Metadata) -> None:
        self._proof = proof

    def _with_proof(self, details: Any) -> Any:
        return details._replace(metadata=grpc.aio.Metadata(*self._proof))


class _UnaryProof(_Proof, grpc.aio.UnaryUnaryClientInterceptor):
    @override
    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        return await continuation(self._with_proof(client_call_details), request)


class _StreamProof(_Proof, grpc.aio.StreamStreamClientInterceptor):
    @override
    async def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await continuation(self._with_proof(client_call_details), request_iterator)
