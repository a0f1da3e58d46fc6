"""Many streams at once, clients that leave, nodes that die: what is recorded is what was generated, to the token."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import grpc
import openai
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.metering.v1 import request_usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from tests.harness.asgi.engine_harness import SERVICE, Serving, people, ready, records, serving
from tests.harness.patience import PATIENCE_S, until
from tests.harness.programs.programs import Pair

STREAMS = 200
SEED = 11


def outputs(found: list[request_usage_pb2.RequestUsage]) -> Counter[int]:
    """How often which number of output tokens is on record. Of a request that moved, the last part has all of them."""
    by_request: Counter[str] = Counter()
    for record in found:
        by_request[record.request_id] = max(by_request[record.request_id], record.usage.output_tokens)
    return Counter(by_request.values())


async def read_stream(client: openai.AsyncOpenAI, name: str, tokens: int, *, leave_after: int | None) -> list[str]:
    """Reads a stream, to its end or until it leaves; returns the reasons why its choice ended."""
    stream = await client.chat.completions.create(
        model="llama", messages=[{"role": "user", "content": name}], max_tokens=tokens, stream=True, user=name
    )
    ends: list[str] = []
    read = 0
    async for chunk in stream:
        ends += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]
        read += 1
        if read == leave_after:
            await stream.close()
            break
    return ends


async def test_clients_that_leave_are_recorded_to_the_token(pair: Pair, served: Serving) -> None:
    """200 streams at once, a tenth of which is aborted anywhere: recorded equals generated, request by request."""
    chance = random.Random(SEED)
    leaving = set(chance.sample(range(STREAMS), STREAMS // 10))
    lengths = [chance.randint(5, 60) for _ in range(STREAMS)]
    # Before the last token, since whoever leaves after it has read why the answer ended.
    leave_after = {at: chance.randint(1, lengths[at] - 1) for at in leaving}
    assert max(leave_after[at] / lengths[at] for at in leaving) > 0.8
    async with served.client() as client:
        reads = [
            read_stream(client, f"u{at}", tokens, leave_after=leave_after.get(at)) for at, tokens in enumerate(lengths)
        ]
        ends = await asyncio.gather(*reads)
        await until(lambda: not served.engine.running)
        found = await records(served, pair.metering.address)
    assert [at for at, end in enumerate(ends) if end != ["length"]] == sorted(leaving)
    assert outputs(found) == Counter(served.engine.generated.values())
    assert sum(record.estimated for record in found) <= len(leaving)
    assert sum(record.receipt.overrun_tokens for record in found) == 0


async def taken_over(address: str, count: int) -> None:
    """Until so many requests run on a node."""
    now = int(time.time())
    query = usage_service_pb2.QueryUsageRequest(
        start_time=Timestamp(seconds=now - 60), end_time=Timestamp(seconds=now + 60), services=[SERVICE]
    )
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(PATIENCE_S):
        stub = usage_service_pb2_grpc.UsageServiceStub(channel)
        while (await stub.QueryUsage(query)).running.request_count < count:
            pass


@pytest.mark.parametrize("pair", ["sqlite", "postgresql"], indirect=True)
async def test_a_node_that_dies_breaks_no_stream(pair: Pair) -> None:
    """Its streams go on over another node: every client reads its answer to the end, and all tokens are recorded."""
    await pair.start_node("node-2")
    async with people(pair) as hands:
        await hands.prepare()
    addresses = [pair.programs[name].address for name in ("node-1", "node-2")]
    async with serving(addresses) as served, served.client() as client:
        await ready(client)
        lengths = {f"u{at}": 120 + at for at in range(40)}
        served.engine.at_least = 100
        served.engine.gate.clear()
        reads = [
            asyncio.create_task(read_stream(client, name, tokens, leave_after=None)) for name, tokens in lengths.items()
        ]
        await until(lambda: served.engine.generated.total() == 1 + 100 * len(reads))
        running = [exchange._request for exchange in served.middleware._open]
        await until(lambda: min(request.free_tokens for request in running) > 0)
        victim = next(program for program in pair.programs.values() if program.address == served.metering.connected_to)
        await victim.kill()
        survivor = next(address for address in addresses if address != victim.address)
        await taken_over(survivor, len(reads))
        served.engine.gate.set()
        ends = await asyncio.gather(*reads)
        assert ends == [["length"]] * len(reads)
        assert served.engine.generated == {"": 1, **lengths}
        assert served.metering.disconnects == 1
        found = await records(served, survivor)
    assert outputs(found) == Counter(served.engine.generated.values())
    assert not any(record.estimated for record in found)
