"""Calls of a command, and the sentence that a person reads when one fails."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, NoReturn

import grpc
import typer

from tallygate._channel import Channels
from tallygate._proxies import by_way_of
from tallygate._tls_failures import tls_problem
from tallygate._wire.failures import decode_failure
from tallygate.cli.console import err, literal
from tallygate.cli.security import control_of_context, current_security, metering_of_context, used_tls

TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 1
LOCAL_CONTROL = "127.0.0.1:7401"
LOCAL_METERING = "127.0.0.1:7402"

ControlOption = Annotated[
    str,
    typer.Option(
        "--control",
        metavar="HOST:PORT",
        envvar="TALLYGATE_CONTROL_ADDRESS",
        show_default=f"the context's, or {LOCAL_CONTROL}",
        help="Where the control service listens; several replicas with commas between.",
    ),
]
KeyOption = Annotated[
    str,
    typer.Option(
        "--idempotency-key", metavar="KEY", help="Makes a repeat of this command harmless. Made up if left out."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print protobuf JSON.")]

DEFAULT_CONTROL = ""
"""Address that says nothing: that of the context counts, or the one on this machine."""


def key_or_new(key: str) -> str:
    """The given idempotency key, or a new one."""
    return key or str(uuid.uuid4())


@contextmanager
def control_channel(address: str) -> Iterator[grpc.Channel]:
    """A channel to the control service; a failed call ends the command with one sentence and status 1."""
    address = answering(control_address(address).split(","))
    with _channel(address, f"the control service at {address}") as channel:
        yield channel


@contextmanager
def metering_channel(address: str) -> Iterator[grpc.Channel]:
    """A channel to a metering node; a failed call ends the command with one sentence and status 1."""
    with _channel(address, f"the metering node at {address}") as channel:
        yield channel


@contextmanager
def _channel(address: str, whom: str) -> Iterator[grpc.Channel]:
    with channels_to(address).open(address) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            fail(sentence(error, whom, by_way_of(address)))


def control_address(given: str) -> str:
    """The address of control that was given, else the context's, else the one on this machine."""
    try:
        return given or control_of_context() or LOCAL_CONTROL
    except ValueError as error:
        fail(str(error))


def metering_addresses(given: Sequence[str]) -> list[str]:
    """The addresses of metering nodes that were given, else the context's, else the one on this machine."""
    try:
        return list(given) or [one for one in metering_of_context().split(",") if one] or [LOCAL_METERING]
    except ValueError as error:
        fail(str(error))


def channels_to(*addresses: str) -> Channels:
    """The way to these addresses; files that are broken, and tokens in plain text, end the command."""
    try:
        channels = Channels(current_security(*addresses))
        for address in addresses:
            channels.check(address)
    except ValueError as error:
        fail(str(error))
    return channels


def answering(addresses: Sequence[str]) -> str:
    """The first of several replicas that takes connections; the last one if none does."""
    for address in addresses[:-1]:
        host, _, port = address.strip().rpartition(":")
        with suppress(OSError, ValueError), socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S):
            return address.strip()
    return addresses[-1].strip()


def fail(message: str, status: int = 1) -> NoReturn:
    """Prints an error and ends the command."""
    err.print("error:", style="bold red", end=" ")
    err.print(literal(message))
    raise typer.Exit(status)


def sentence(error: grpc.RpcError, whom: str, way: str = "") -> str:
    """What went wrong in one sentence, with the reason from the error's details where it has one.

    `way`: how it is reached, if not directly; see `by_way_of`.
    """
    code, details = error.code(), error.details() or ""
    failure = decode_failure(error)
    reason, violations = failure.reason, [f"{path}: {problem}" for path, problem in failure.violations]
    if code == grpc.StatusCode.UNAVAILABLE and (problem := tls_problem(details, has_tls=used_tls())):
        return f"{whom} {problem}"
    if code == grpc.StatusCode.UNAVAILABLE and not reason:
        return f"{whom} cannot be reached{way}; start it with `tallygate up`, or say where it is"
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{whom} did not answer within {TIMEOUT_S} s; repeat the command with the same --idempotency-key"
    text = details or f"{whom} answered {code.name}"
    if violations:
        text += f" ({'; '.join(violations)})" if not all(part in text for part in violations) else ""
    return f"{text} [{reason}]" if reason else text
