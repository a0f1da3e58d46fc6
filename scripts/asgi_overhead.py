"""Measures what the middleware adds to a stream: to its first byte, and to each chunk.

Needs a control service and a metering node with a service that runs: `tallygate up`, then as in the README. Prints
microseconds, with and without the middleware, from the same fake server called as an ASGI server calls it; and next to
the first byte, what an authorisation takes there and back on a bare gRPC stream, by the generated stub, in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
import uuid
from collections.abc import Callable, MutableMapping
from typing import Any

import grpc

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.asgi_types import App, Receive, Scope, Send
from tallygate.metering.v1 import metering_service_pb2, metering_service_pb2_grpc, report_pb2, token_usage_pb2

BODY = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "word " * 200}]}).encode()


WORD = " word"
ENTRY = {"token": WORD, "logprob": -0.125, "bytes": list(WORD.encode())}
TOOL = {"tool_calls": [{"index": 0, "function": {"arguments": WORD}}]}


def chunk(delta: dict[str, Any], *, logprobs: Any = None, **more: Any) -> bytes:
    """A chunk as vLLM writes it."""
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": None}
    content = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps({**content, **more}, separators=(',', ':'))}\n\n".encode()


def usage(came_out: int) -> dict[str, int]:
    """A usage block."""
    return {"prompt_tokens": 200, "total_tokens": 200 + came_out, "completion_tokens": came_out}


KINDS: dict[str, Callable[[int], bytes]] = {
    "text alone": lambda _: chunk({"content": WORD}),
    "text, and a number that grows": lambda at: chunk({"content": WORD}, number=at),
    "text with log probabilities": lambda at: chunk({"content": WORD}, logprobs={"content": [ENTRY]}, number=at),
    "text with usage": lambda at: chunk({"content": WORD}, usage=usage(at + 1)),
    "a tool's arguments": lambda _: chunk(TOOL),
}
"""Kinds of chunks by what they carry. Only chunks of text alone look alike, so that they need not be read."""


class Server:
    """Sends `count` chunks as fast as they are taken, then usage."""

    def __init__(self, count: int, make: Callable[[int], bytes]) -> None:
        self._chunks = [make(at) for at in range(count)]
        said = {"id": "chatcmpl-1", "choices": [], "usage": usage(count)}
        self._end = f"data: {json.dumps(said)}\n\ndata: [DONE]\n\n".encode()

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        await receive()
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in self._chunks:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": self._end, "more_body": False})


async def stream(app: App) -> tuple[float, float]:
    """Microseconds to the first byte, and of work for each chunk after it."""
    at: list[int] = []
    worked: list[int] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            at.append(time.perf_counter_ns())
            worked.append(time.thread_time_ns())

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [], "asgi": {}}
    begun = time.perf_counter_ns()
    await app(scope, receive, send)
    return (at[0] - begun) / 1_000, (worked[-2] - worked[0]) / (len(worked) - 2) / 1_000


class BareStream:
    """One Meter stream by the generated stub, and nothing around it."""

    def __init__(self, address: str, service: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
        self._call = metering_service_pb2_grpc.MeteringServiceStub(self._channel).Meter()
        self._service = service
        self._sequence = 0

    async def authorize(self) -> float:
        """Microseconds from an authorisation to its decision; the request is then finished."""
        self._sequence += 1
        report = report_pb2.TokenReport(
            request_id=uuid.uuid4().hex,
            service=self._service,
            phase=report_pb2.REPORT_PHASE_AUTHORIZE,
            usage=token_usage_pb2.TokenUsage(input_tokens=254),
        )
        begun = time.perf_counter_ns()
        await self._call.write(metering_service_pb2.MeterRequest(first_sequence=self._sequence, reports=[report]))
        is_answered = False
        while not is_answered:
            response = await self._call.read()
            assert isinstance(response, metering_service_pb2.MeterResponse)
            is_answered = any(decision.sequence == self._sequence for decision in response.decisions)
        took = (time.perf_counter_ns() - begun) / 1_000
        self._sequence += 1
        report.phase = report_pb2.REPORT_PHASE_FINISH
        await self._call.write(metering_service_pb2.MeterRequest(first_sequence=self._sequence, reports=[report]))
        return took

    async def close(self) -> None:
        """Ends it."""
        await self._call.done_writing()
        await self._channel.close()


async def run(arguments: argparse.Namespace) -> None:
    """Measures and prints. With and without take turns, so that what disturbs one disturbs the other."""
    bare_stream = BareStream(arguments.metering, arguments.service)
    async with MeteringClient(arguments.metering) as client:
        for name, make in KINDS.items():
            server = Server(arguments.chunks, make)
            metered = MeteringMiddleware(server, client=client, services=arguments.service)
            await stream(metered)
            pairs, trips = [], []
            for _ in range(arguments.streams):
                pairs.append((await stream(server), await stream(metered)))
                trips.append(await bare_stream.authorize())
            print(f"{name}:")
            for column, what in enumerate(("first byte", "each chunk")):
                added = [with_it[column] - bare[column] for bare, with_it in pairs]
                print(f"  {what}: +{statistics.median(added):.2f} us (median), +{min(added):.2f} us (least)")
            first = statistics.median(with_it[0] - bare[0] for bare, with_it in pairs)
            trip = statistics.median(trips)
            print(f"  one authorisation on a bare stream: {trip:.2f} us (median)")
            print(f"  the first byte, of that: {first / trip:.2f}")
    await bare_stream.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metering", default="127.0.0.1:7402", help="HOST:PORT of a metering node")
    parser.add_argument("--service", default="accounts/acme/services/default-llama", help="a service that runs")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=500)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
