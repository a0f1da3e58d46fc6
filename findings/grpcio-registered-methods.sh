#!/bin/sh
# grpcio 1.85.3, a server of grpc.aio: each method that generated code registers has a task of its own that waits for the
# next call, and whenever a call comes the server walks through all of them (asyncio.wait). So a call takes the longer,
# the more methods there are that nobody calls: with 199 others it takes 40 to 50 % more of the processor, that of the
# client included. The same methods as a generic handler have one task, and cost nothing.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check grpcio==1.85.3
cat > "$folder/look.py" <<'PYTHON'
import asyncio
import time

import grpc

CALLS, ROUNDS, OTHERS = 300, 12, 199


async def answer(request, context):
    return b""


async def start(others, generic):
    """A server with one method that is called and others that are not; its channel, and how many tasks it has."""
    names = ["Called", *(f"Other{number}" for number in range(others))]
    handlers = {name: grpc.unary_unary_rpc_method_handler(answer) for name in names}
    before, server = asyncio.all_tasks(), grpc.aio.server()
    if generic:
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("s.S", handlers)])
    else:
        server.add_registered_method_handlers("s.S", handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    tasks = len(asyncio.all_tasks() - before)
    return server, grpc.aio.insecure_channel(f"127.0.0.1:{port}"), tasks


async def processor_us(channel):
    """Processor time of a call, of both sides."""
    call, began = channel.unary_unary("/s.S/Called"), time.process_time()
    for _ in range(CALLS):
        await call(b"")
    return (time.process_time() - began) / CALLS * 1e6


async def main():
    cases = {"alone": (0, False), "registered": (OTHERS, False), "generic": (OTHERS, True)}
    servers = {name: await start(*case) for name, case in cases.items()}
    least = dict.fromkeys(cases, float("inf"))
    for _ in range(ROUNDS):
        for name, (_, channel, _) in servers.items():
            least[name] = min(least[name], await processor_us(channel))
    for name, (server, channel, tasks) in servers.items():
        print(f"{cases[name][0]} other methods, {name}: {tasks} tasks, {least[name]:.0f} us a call")
        await channel.close()
        await server.stop(0)
    assert servers["registered"][2] - servers["alone"][2] == OTHERS
    assert servers["generic"][2] < servers["alone"][2]
    assert least["registered"] > 1.15 * least["alone"]
    assert least["generic"] < 1.1 * least["alone"]


asyncio.run(main())
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
