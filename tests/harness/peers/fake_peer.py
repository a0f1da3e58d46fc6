"""A server that speaks what others speak, and allows: as whichever program it is started, it serves where it is told.

Run as a program with the name of one of them: `gubernator`, `ratelimit`, `redis` or `limitador`, and its arguments.
"""

import os
import socket
import sys
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc

from benchmarks.peers import dialects


def gubernator(request: bytes) -> bytes:
    asked = dialects._GUBERNATOR["GetRateLimitsReq"].FromString(request)
    assert all(each.hits == 1 and each.limit == dialects.LIMIT and each.unique_key for each in asked.requests)
    answer = dialects._GUBERNATOR["GetRateLimitsResp"]()
    for _ in asked.requests:
        answer.responses.add()
    return bytes(answer.SerializeToString())


def ratelimit(request: bytes) -> bytes:
    asked = dialects._ENVOY["RateLimitRequest"].FromString(request)
    assert asked.domain == dialects.DOMAIN
    assert [entry.key for each in asked.descriptors for entry in each.entries] == [dialects.ENTRY]
    return bytes(dialects._ENVOY["RateLimitResponse"](overall_code=1).SerializeToString())


def serve(method: str, answer: Callable[[bytes], bytes], port: str) -> None:
    def handle(request: Any, _: object) -> bytes:
        return answer(request)

    service, _, name = method[1:].partition("/")
    handlers: dict[str, Any] = {name: grpc.unary_unary_rpc_method_handler(handle)}
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def accept(port: str) -> None:
    with socket.create_server(("127.0.0.1", int(port))) as listener:
        while True:
            listener.accept()[0].close()


def main(program: str, arguments: list[str]) -> None:
    if program == "gubernator":
        serve(dialects.Gubernator.method, gubernator, os.environ["GUBER_GRPC_ADDRESS"].rpartition(":")[2])
    elif program == "ratelimit":
        serve(dialects.EnvoyRateLimit.method, ratelimit, os.environ["GRPC_PORT"])
    elif program == "limitador":
        serve(dialects.EnvoyRateLimit.method, ratelimit, arguments[arguments.index("--rls-port") + 1])
    else:
        accept(arguments[arguments.index("--port") + 1])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
