"""Measures what the middleware adds to a stream: to its first byte, and to each chunk.

Needs a control service and a metering node with a service that runs: `tallygate up`, then as in the README. Prints
microseconds, with and without the middleware, from the same fake server called as an ASGI server calls it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import MutableMapping
from typing import Any

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.asgi_types import App, Receive, Scope, Send

BODY = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "word " * 200}]}).encode()


def chunk(text: str, number: int | None) -> bytes:
    """A chunk as vLLM writes it; with a number, no two look alike, and each is parsed."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    content: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    content |= {"choices": [choice]} if number is None else {"choices": [choice], "number": number}
    return f"data: {json.dumps(content, separators=(',', ':'))}\n\n".encode()


class Server:
    """Sends `count` chunks as fast as they are taken, then usage."""

    def __init__(self, count: int, *, alike: bool) -> None:
        self._chunks = [chunk(" word", None if alike else at) for at in range(count)]
        usage = {"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 200, "completion_tokens": count}}
        self._end = f"data: {json.dumps(usage)}\n\ndata: [DONE]\n\n".encode()

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


async def measure(app: App, streams: int) -> list[tuple[float, float]]:
    """So many streams, one after another."""
    return [await stream(app) for _ in range(streams)]


async def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    async with MeteringClient(arguments.metering) as client:
        for alike in (True, False):
            server = Server(arguments.chunks, alike=alike)
            metered = MeteringMiddleware(server, client=client, services=arguments.service)
            await measure(metered, 3)
            bare, with_it = await measure(server, arguments.streams), await measure(metered, arguments.streams)
            print("chunks that differ in their text:" if alike else "chunks that are all parsed:")
            for name, column in (("first byte", 0), ("each chunk", 1)):
                median, least = (
                    pick(times[column] for times in with_it) - pick(times[column] for times in bare)
                    for pick in (statistics.median, min)
                )
                print(f"  {name}: +{median:.2f} us (median), +{least:.2f} us (least)")


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
