#!/bin/sh
# grpcio 1.85.3: a channel that loses its server asks for the addresses of the server's name again, but not within 30 s of
# the last time: until then it tries the old address, whatever the record's time to live is. So a server that comes back
# at another address, as containers do, is not reached for half a minute. `grpc.dns_min_time_between_resolutions_ms` says
# otherwise.
# Seen on Linux with Python 3.11. Fails if that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check grpcio==1.85.3 dnslib==0.9.26
cat > "$folder/look.py" <<'PYTHON'
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from dnslib import QTYPE, RR, A
from dnslib.server import BaseResolver, DNSLogger, DNSServer


class Names(BaseResolver):
    """Names that all have one address, to be asked for again after a second."""

    address = ""
    asked = 0

    def resolve(self, request, handler):
        reply = request.reply()
        if request.q.qtype == QTYPE.A:
            self.asked += 1
            reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(self.address), ttl=1))
        return reply


def serving(address, port=0):
    server = grpc.server(ThreadPoolExecutor(2))
    method = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("some.Service", {"Method": method}),))
    port = server.add_insecure_port(f"{address}:{port}")
    server.start()
    return server, port


names = Names()
dns = DNSServer(names, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply"))
dns.start_thread()
dns_port = dns.server.server_address[1]
for options, least_s, most_s in (((), 20, 40), ((("grpc.dns_min_time_between_resolutions_ms", 1_000),), 0, 10)):
    names.address, names.asked = "127.0.0.2", 0
    server, port = serving("127.0.0.2")
    with grpc.insecure_channel(f"dns://127.0.0.1:{dns_port}/server.test:{port}", options=options) as channel:
        call = channel.unary_unary("/some.Service/Method")
        call(b"", timeout=10)
        # It moves.
        server.stop(0).wait()
        moved, _ = serving("127.0.0.3", port)
        names.address, began = "127.0.0.3", time.monotonic()
        failed = 0
        while True:
            try:
                call(b"", timeout=10)
                break
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE, error
                failed += 1
                time.sleep(0.1)
        took_s = time.monotonic() - began
        said = "as it comes" if not options else "option at 1000"
        print(f"{said:14}: reached at its new address after {took_s:4.1f} s, {failed:3} calls failed, "
              f"the name was looked up {names.asked} times")
        assert least_s < took_s < most_s
        moved.stop(0).wait()
dns.stop()
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
