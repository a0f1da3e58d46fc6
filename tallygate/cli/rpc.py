"""Calls of a command, and the sentence that a person reads when one fails."""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Annotated, Final, NoReturn

import grpc
import typer

from tallygate._channel import Channels
from tallygate._proxies import by_way_of
from tallygate._tls_failures import tls_problem
from tallygate.cli.console import err, literal
from tallygate.cli.contexts import CONTROL_PORT, METERING_PORT
from tallygate.cli.security import control_of_context, current_security, metering_of_context, used_tls, what_to_show

_ADDRESS: Final = re.compile(r":[0-9]{1,5}\Z|\A(?:unix|dns|ipv4|ipv6|xds):")
TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 1
RECONNECT_MS: Final = 1_000
"""Maximum pause between two attempts to connect, which gRPC's own would let grow to two minutes."""
LOCAL_CONTROL = f"127.0.0.1:{CONTROL_PORT}"
LOCAL_METERING = f"127.0.0.1:{METERING_PORT}"

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
MeteringOption = Annotated[
    list[str] | None,
    typer.Option(
        "--metering",
        metavar="HOST:PORT",
        envvar="TALLYGATE_METERING_ADDRESSES",
        show_default=f"the context's, or {LOCAL_METERING}",
        help="Where a metering node listens; repeatable, or several with commas between.",
    ),
]
KeyOption = Annotated[
    str,
    typer.Option(
        "--idempotency-key", metavar="KEY", help="Makes a repeat of this command harmless. Made up if left out."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print protobuf JSON.")]
CsvOption = Annotated[
    bool, typer.Option("--csv", help="Print comma-separated values: the fields that --json has, amounts in nanos.")
]

_idempotency_key: ContextVar[str] = ContextVar("idempotency key", default="")

_NOTHING_SHOWN: Final = "[CREDENTIAL_MISSING]"
"""End of the sentence on a call that proved nothing."""

DEFAULT_CONTROL = ""
"""Address that says nothing: that of the context counts, or the one on this machine."""


def key_or_new(key: str) -> str:
    """The given idempotency key, or a new one; a call that is not answered in time names it."""
    key = key or str(uuid.uuid4())
    _idempotency_key.set(key)
    return key


@contextmanager
def control_channel(address: str) -> Iterator[grpc.Channel]:
    """A channel to the control service; a failed call ends the command with one sentence and status 1."""
    address = answering(control_address(address).split(","))
    with _channel(address, "--control", f"the control service at {address}") as channel:
        yield channel


@contextmanager
def metering_channel(address: str) -> Iterator[grpc.Channel]:
    """A channel to a metering node; a failed call ends the command with one sentence and status 1."""
    with _channel(address, "--metering", f"the metering node at {address}") as channel:
        yield channel


@contextmanager
def _channel(address: str, option: str, whom: str) -> Iterator[grpc.Channel]:
    with channels_to(address).open(address, [("grpc.max_reconnect_backoff_ms", RECONNECT_MS)]) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            said = sentence(error, whom, by_way_of(address), _nearest(channel, error))
            fail(f"{said}; {what_to_show(option, address)}" if said.endswith(_NOTHING_SHOWN) else said)


def control_address(given: str) -> str:
    """The address of control that was given, else the context's, else the one on this machine."""
    try:
        return given or control_of_context() or LOCAL_CONTROL
    except ValueError as error:
        fail(str(error))


def metering_addresses(given: Sequence[str] | None) -> list[str]:
    """The addresses of metering nodes that were given, else the context's, else the one on this machine."""
    try:
        said = given or [metering_of_context()]
    except ValueError as error:
        fail(str(error))
    return [one.strip() for several in said for one in several.split(",") if one.strip()] or [LOCAL_METERING]


def channels_to(*addresses: str) -> Channels:
    """The way to these addresses; what is no address, broken files, and tokens in plain text, end the command."""
    for address in addresses:
        if not _ADDRESS.search(address):
            fail(f"{address!r} has no port; write the address as HOST:PORT, such as {LOCAL_CONTROL}")
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


def _nearest(channel: grpc.Channel, error: grpc.RpcError) -> str:
    """The nearest name, where the error is that there is none of that name."""
    if error.code() is not grpc.StatusCode.NOT_FOUND:
        return ""
    from tallygate._wire.failures import decode_failure  # noqa: PLC0415  # only where something is wrong
    from tallygate.cli.nearest import nearest  # noqa: PLC0415  # as above

    return nearest(channel, decode_failure(error).resource)


def sentence(error: grpc.RpcError, whom: str, way: str = "", near: str = "") -> str:
    """What went wrong in one sentence, with the reason from the error's details where it has one.

    `way`: how it is reached, if not directly; see `by_way_of`. `near`: the nearest name to one that there is not.
    """
    from tallygate._wire.failures import decode_failure  # noqa: PLC0415  # only where something is wrong

    code, details = error.code(), error.details() or ""
    failure = decode_failure(error)
    reason, violations = failure.reason, [f"{path}: {problem}" for path, problem in failure.violations]
    if code == grpc.StatusCode.UNAVAILABLE and (problem := tls_problem(details, has_tls=used_tls())):
        return f"{whom} {problem}"
    if code == grpc.StatusCode.UNAVAILABLE and not reason:
        return f"{whom} cannot be reached{way}; start it with `tallygate up`, or say where it is"
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        key = _idempotency_key.get()
        return f"{whom} did not answer within {TIMEOUT_S} s; repeat the command" + (
            f" with --idempotency-key {key}, so that it is done once" if key else ""
        )
    if code == grpc.StatusCode.UNIMPLEMENTED and not reason:
        return f"{whom} knows no such call; is that the address of the other service, or of another version?"
    text = details or f"{whom} answered {code.name}"
    if violations:
        text += f" ({'; '.join(violations)})" if not all(part in text for part in violations) else ""
    if near:
        text = f"{text.removesuffix('.')}: is it {near}?"
    return f"{text} [{reason}]" if reason else text
