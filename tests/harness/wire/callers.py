"""Callers with tokens, at a control service that asks for proof."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from control_service.bootstrap import Access
from control_service.usecases.resolve_credential import Credentials
from tallygate._access.token_text import ID_BYTES, SECRET_BYTES, read_token, token_id_of, token_text
from tallygate._server.clock import Clock
from tests.harness.control.access import SEAL
from tests.harness.wire.control_fleet import Control, running_control

OPERATOR_TOKEN = token_text(token_id_of(b"o" * ID_BYTES), b"o" * SECRET_BYTES)
GUARDED = Access(Credentials(SEAL, read_token(OPERATOR_TOKEN), trust_domain="example.org"), asks_for_proof=True)


@asynccontextmanager
async def calling(address: str, token: str = "") -> AsyncIterator[Control]:
    """Stubs whose calls bring a token, or nothing."""
    interceptors = [_Bearer(token)] if token else []
    async with grpc.aio.insecure_channel(address, interceptors=interceptors) as channel:
        yield Control(address, channel)


@asynccontextmanager
async def guarded_control(directory: Path, clock: Clock | None = None) -> AsyncIterator[Control]:
    """A control service that asks for proof, called by its first operator."""
    server = running_control(directory, clock, GUARDED)
    async with server as control, calling(control.address, OPERATOR_TOKEN) as operator:
        yield operator


class _Bearer(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()), ("authorization", f"Bearer {self._token}"))
        return await continuation(client_call_details._replace(metadata=metadata), request)
