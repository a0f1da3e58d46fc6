#!/bin/sh
# grpcio 1.85.3: `grpc.min_reconnect_backoff_ms` is, by its name and description, the least time between two attempts to
# connect. In fact
#   - it is no such thing: with 5,000 a server that was not there is reached within a second of its coming;
#   - it is how long each attempt may take, together with the time until the next one: with 50, and at most 500 between
#     attempts, a server whose HTTP/2 preface comes after 300 ms fails dozens of calls, and one of 1 s is never reached.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check grpcio==1.85.3
cat > "$folder/look.py" <<'PYTHON'
import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc


def serving(port=0):
    """A server that answers any call of one method; its port."""
    server = grpc.server(ThreadPoolExecutor(2))
    method = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("some.Service", {"Method": method}),))
    return server, server.add_insecure_port(f"127.0.0.1:{port}")


def options(least_ms):
    return [
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", least_ms),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.use_local_subchannel_pool", 1),
    ]


async def pass_on(reader, writer, after_s=0.0):
    await asyncio.sleep(after_s)
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


def far_away(target, after_s):
    """The port of a way to the target that is open at once, and brings the target's first bytes so late; attempts."""
    ports, attempts = [], []

    async def relay(reader, writer):
        attempts.append(time.monotonic())
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", target)
        ways = pass_on(reader, there_writer), pass_on(there_reader, writer, after_s)
        await asyncio.gather(*ways, return_exceptions=True)

    async def serve():
        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    while not ports:
        time.sleep(0.01)
    return ports[0], attempts


def call_until(address, least_ms, for_s):
    """Calls that failed before one was answered within the time; whether one was."""
    failed, end = 0, time.monotonic() + for_s
    with grpc.insecure_channel(address, options=options(least_ms)) as channel:
        while time.monotonic() < end:
            try:
                channel.unary_unary("/some.Service/Method")(b"", timeout=20)
                return failed, True
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE, error
                failed += 1
                time.sleep(0.02)
    return failed, False


server, port = serving()
server.start()
for after_s, least_ms, for_s in ((0.3, 50, 20), (0.3, 5_000, 20), (1.0, 50, 8), (1.0, 5_000, 20)):
    far, attempts = far_away(port, after_s)
    failed, is_reached = call_until(f"127.0.0.1:{far}", least_ms, for_s)
    print(f"preface after {after_s} s, option at {least_ms:5}: {failed:3} calls failed, {len(attempts):2} attempts, "
          f"{'then answered' if is_reached else f'and none was answered in {for_s} s'}")
    assert is_reached == (after_s < 1 or least_ms == 5_000)
    assert (failed > 0) == (least_ms == 50)
server.stop(None)

with socket.create_server(("127.0.0.1", 0)) as taken:
    free = taken.getsockname()[1]
with grpc.insecure_channel(f"127.0.0.1:{free}", options=options(5_000)) as channel:
    waiting = channel.unary_unary("/some.Service/Method").future(b"", timeout=60, wait_for_ready=True)
    time.sleep(2)
    assert not waiting.done()
    server, _ = serving(free)
    server.start()
    begun = time.monotonic()
    waiting.result()
    took_s = time.monotonic() - begun
    print(f"option at  5000, server comes later: answered {took_s:.2f} s after it came")
    assert took_s < 4, "the option does keep attempts apart"
server.stop(None)
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
