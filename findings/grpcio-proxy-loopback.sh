#!/bin/sh
# grpcio 1.85.3: with a proxy in the environment,
#   - a channel to 127.0.0.1 or localhost goes through the proxy, too;
#   - NO_PROXY in capitals, and `no_proxy=*`, change nothing; `no_proxy=127.0.0.1` does;
#   - HTTP_PROXY in capitals is not read; an empty grpc_proxy switches http_proxy off;
#   - where the proxy hangs up, the error gives its address as if it were the server's, without the word proxy.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check grpcio==1.85.3
cat > "$folder/look.py" <<'PYTHON'
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "HTTP_PROXY", "no_grpc_proxy", "no_proxy", "NO_PROXY")
asked = []


def hang_up(listener):
    while True:
        connection, _ = listener.accept()
        asked.append(connection.recv(1_000).split(b"\r\n")[0].decode())
        connection.close()


def call(address, **environment):
    """The first line that the proxy got, or nothing; and the error of a call."""
    for name in VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(environment)
    asked.clear()
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            channel.unary_unary("/no.such.Service/Method")(b"", timeout=20)
        except grpc.RpcError as error:
            return (asked[0] if asked else "direct"), error


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=hang_up, args=(listener,), daemon=True).start()
proxy_address = "127.0.0.1:%d" % listener.getsockname()[1]
proxy = "http://" + proxy_address
server = grpc.server(ThreadPoolExecutor(1))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
ip, name = f"127.0.0.1:{port}", f"localhost:{port}"

for title, address, environment, expected in (
    ("http_proxy, 127.0.0.1", ip, {"http_proxy": proxy}, f"CONNECT {ip} HTTP/1.1"),
    ("http_proxy, localhost", name, {"http_proxy": proxy}, f"CONNECT {name} HTTP/1.1"),
    ("NO_PROXY=127.0.0.1", ip, {"http_proxy": proxy, "NO_PROXY": "127.0.0.1"}, f"CONNECT {ip} HTTP/1.1"),
    ("no_proxy=*", ip, {"http_proxy": proxy, "no_proxy": "*"}, f"CONNECT {ip} HTTP/1.1"),
    ("no_proxy=127.0.0.1", ip, {"http_proxy": proxy, "no_proxy": "127.0.0.1"}, "direct"),
    ("HTTP_PROXY", ip, {"HTTP_PROXY": proxy}, "direct"),
    ("grpc_proxy empty", ip, {"http_proxy": proxy, "grpc_proxy": ""}, "direct"),
):
    way, error = call(address, **environment)
    print(f"{title:24} {way:36} {error.code().name}")
    assert way == expected, (title, way)
    assert error.code() is (grpc.StatusCode.UNIMPLEMENTED if way == "direct" else grpc.StatusCode.UNAVAILABLE)
    if way != "direct":
        assert "proxy" not in error.details().lower(), error.details()
        assert f"ipv4:{proxy_address}" in error.details(), error.details()
print("an error:", call(ip, http_proxy=proxy)[1].details())
server.stop(0)
PYTHON
"$folder/venv/bin/python" "$folder/look.py" 2>"$folder/log" || { cat "$folder/log"; exit 1; }
echo "grpcio 1.85.3 still does all of this."
