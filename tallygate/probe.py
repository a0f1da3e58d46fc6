"""A probe of one server, `python -m tallygate.probe HOST:PORT`: exit status 0 while it is SERVING.

For what starts programs again or sends traffic to them and cannot ask by TLS itself, as Kubernetes cannot. It imports
little: it is started every few seconds.
"""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tallygate._channel import Channels
from tallygate._security import Names, security_of

TIMEOUT_S = 3.0
_NAMES = Names("--ca", "--cert", "--key", "--token-file")


def main() -> NoReturn:
    """Ask once."""
    parser = argparse.ArgumentParser(prog="python -m tallygate.probe", description="Asks for a server's health, once.")
    parser.add_argument("address", metavar="HOST:PORT", help="where the server listens")
    parser.add_argument("--name", default="", help="a name of README's table of probes; without it: whether it lives")
    parser.add_argument("--ca", default="", metavar="FILE", help="authorities of its certificate; by TLS only")
    said = parser.parse_args()
    problem = problem_of(said.address, said.name, said.ca)
    if problem:
        sys.stderr.write(f"{problem}\n")
    sys.exit(1 if problem else 0)


def problem_of(address: str, name: str, ca_file: str) -> str:
    """Why the server is not SERVING, in a sentence; empty if it is."""
    whom = f"{name or 'the server'} at {address}"
    try:
        channels = Channels(security_of(_NAMES, ca_file, "", "", ""))
        channels.check(address)
        with channels.open(address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            status = check(health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT_S).status
    except ValueError as error:
        return str(error)
    except grpc.RpcError as error:
        return f"{whom} does not answer: {error.details()}"
    if status == health_pb2.HealthCheckResponse.SERVING:
        return ""
    return f"{whom} is {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}"


if __name__ == "__main__":
    main()
