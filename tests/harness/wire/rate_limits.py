"""A gateway as tests play it: it calls both protocols by their names."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from tallygate.client import MeteringClient
from tallygate.integrations.ratelimit import rate_limit_pb2 as wire
from tallygate.integrations.ratelimit.open_requests import OpenRequests
from tallygate.integrations.ratelimit.servicers import ENVOY, KUADRANT, REASON_METADATA, RateLimitServicers
from tallygate.integrations.services import ServiceResolver, by_key
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.fake_metering import FakeMetering

_Answer = TypeVar("_Answer", bound=Message)
SERVICE = "accounts/acme/services/chat"


@dataclass(eq=False)
class Alarm:
    seconds: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass(eq=False)
class Alarms:
    """A clock of time-outs that only the test moves."""

    alarms: list[Alarm] = field(default_factory=list)

    def later(self, seconds: float, call: Callable[[], None]) -> Alarm:
        self.alarms.append(Alarm(seconds, call))
        return self.alarms[-1]

    @property
    def waiting(self) -> list[Alarm]:
        return [alarm for alarm in self.alarms if not alarm.cancelled]

    def ring(self) -> None:
        for alarm in self.waiting:
            alarm.cancelled = True
            alarm.call()


@dataclass(eq=False)
class Gateway:
    """What a gateway says. Entries are written without the `tallygate_` of their keys."""

    channel: grpc.aio.Channel
    requests: OpenRequests
    alarms: Alarms
    reason: str = ""
    """The reason in the trailing metadata of the last answer."""

    async def ask(self, entries: Mapping[str, str], tokens: int | None = None) -> wire.RateLimitResponse:
        """`ShouldRateLimit` with one descriptor; with `tokens` that are its own, as at a stream's end."""
        return await self.should(wire.RateLimitRequest(domain="gateway", descriptors=[descriptor(tokens, entries)]))

    async def should(self, request: wire.RateLimitRequest) -> wire.RateLimitResponse:
        return await self._call(ENVOY, "ShouldRateLimit", request, wire.RateLimitResponse)

    async def kuadrant(self, method: str, entries: Mapping[str, str], tokens: int = 0) -> wire.RateLimitResponse:
        """`CheckRateLimit` or `Report`."""
        request = wire.RateLimitRequest(domain="gateway", descriptors=[described(entries)], hits_addend=tokens)
        return await self._call(KUADRANT, method, request, wire.RateLimitResponse)

    async def reserve(
        self, entries: Mapping[str, str], amount: int, ttl_s: float | None = None
    ) -> wire.ReserveResponse:
        request = wire.ReserveRequest(domain="gateway", descriptors=[described(entries)], amount=amount)
        if ttl_s is not None:
            request.ttl.CopyFrom(Duration(seconds=int(ttl_s), nanos=round(ttl_s % 1 * 1e9)))
        return await self._call(KUADRANT, "Reserve", request, wire.ReserveResponse)

    async def commit(self, entries: Mapping[str, str], reservation: str, amount: int) -> wire.CommitResponse:
        request = wire.CommitRequest(
            domain="gateway", descriptors=[described(entries)], reservation_id=reservation, actual_amount=amount
        )
        return await self._call(KUADRANT, "Commit", request, wire.CommitResponse)

    async def _call(self, service: str, method: str, request: Message, answer: type[_Answer]) -> _Answer:
        call: Any = self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        calling = call(request, timeout=PATIENCE_S)
        found: _Answer = await calling
        self.reason = str(dict(await calling.trailing_metadata()).get(REASON_METADATA, ""))
        return found


def descriptor(tokens: int | None, entries: Mapping[str, str]) -> wire.Descriptor:
    """A descriptor as Envoy makes it."""
    made = wire.Descriptor(entries=[wire.Entry(key=f"tallygate_{key}", value=value) for key, value in entries.items()])
    if tokens is not None:
        made.hits_addend.value = tokens
    return made


def described(entries: Mapping[str, str]) -> wire.Descriptor:
    """A descriptor as Kuadrant's filter makes it: beside what concerns Tallygate it names a limit."""
    made = wire.Descriptor(entries=[wire.Entry(key="tokenlimit.free__1a2b3c4d", value="1")])
    for key, value in entries.items():
        made.entries.add(key=f"auth.identity.tallygate_{key}", value=value)
    return made


def headers_of(answer: wire.RateLimitResponse) -> dict[str, str]:
    return {header.key: header.value for header in answer.response_headers_to_add}


def usage(node: FakeMetering, request_id: str = "r1") -> tuple[int, int, bool]:
    """Input and output of a finish, and whether it is an estimate."""
    finish = node.committed[request_id]
    return finish.usage.input_tokens, finish.usage.output_tokens, finish.estimated


@asynccontextmanager
async def gateway(
    client: MeteringClient, find_service: ServiceResolver = by_key, *, ids: str = "made"
) -> AsyncIterator[Gateway]:
    """The services on a free port, before a client of nodes. `ids`: how ids begin that they make themselves."""
    alarms, numbers = Alarms(), itertools.count(1)
    requests = OpenRequests(client, new_id=lambda: f"{ids}-{next(numbers)}", later=alarms.later)
    server = grpc.aio.server()
    RateLimitServicers(requests, find_service).add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Gateway(channel, requests, alarms)
    await server.stop(0)
