"""Security of a command's channels: certificates and a token.

Options before the command say it, or the environment, or the context that somebody has logged in to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Annotated, Final

import typer

from tallygate._security import PLAIN, VARIABLES, Names, Security, security_from, security_of
from tallygate.cli.contexts import Context, ContextStore, current_context

SERVES_BY_TLS: Final = "TALLYGATE_TLS_CERT"
"""Variable by which services that a command starts are made to serve by TLS."""

_OPTIONS: Final = ("--ca", "--cert", "--key", "--token-file")
_NAMES: Final = Names(*(f"{option} or {variable}" for option, variable in zip(_OPTIONS, VARIABLES, strict=True)))
_said: ContextVar[Callable[[], Security] | None] = ContextVar("security", default=None)
_used: ContextVar[Security] = ContextVar("used security", default=PLAIN)


def show_version(asked: bool) -> None:
    """Prints the version of what is installed, and ends the command."""
    if asked:
        from importlib.metadata import version  # noqa: PLC0415  # takes as long as a tenth of a command

        print("tallygate", version("tallygate"))
        raise typer.Exit


def security_options(
    *,
    ca: Annotated[
        str, typer.Option("--ca", metavar="FILE", envvar=VARIABLES.ca, help="Authorities of servers; TLS is used then.")
    ] = "",
    cert: Annotated[
        str, typer.Option("--cert", metavar="FILE", envvar=VARIABLES.cert, help="Certificate to show to servers.")
    ] = "",
    key: Annotated[str, typer.Option("--key", metavar="FILE", envvar=VARIABLES.key, help="Its key.")] = "",
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=show_version, help="Print the version and exit.")
    ] = False,
    token_file: Annotated[
        str, typer.Option("--token-file", metavar="FILE", envvar=VARIABLES.token_file, help="Token to send to servers.")
    ] = "",
) -> None:
    """Token metering and admission control for LLM inference fleets."""
    # Looked at by commands that open a channel: `check` says itself what is wrong with the environment.
    _said.set(lambda: security_of(_NAMES, ca, cert, key, token_file))


def use_security(security: Security) -> None:
    """Has all channels of this command secured so."""
    _said.set(lambda: security)


def given_security() -> Security:
    """The security that options or the environment give. Raises ValueError where they say half of it."""
    said = _said.get()
    return said() if said else security_from(os.environ)


def current_security(*addresses: str) -> Security:
    """How channels to these addresses are secured.

    The context's certificates and token count where nothing else is given, and only for the context's own addresses:
    a token is not sent to servers that it is not for.

    Raises:
        ValueError: the environment says half of it, or the context's files cannot be read.
    """
    security = given_security()
    if security == PLAIN:
        security = _of_context(addresses)
    _used.set(security)
    return security


def used_tls() -> bool:
    """Whether the channels that this command opened last are by TLS."""
    return _used.get().has_tls


def control_of_context() -> str:
    """The address of control in the context; empty where there is none. Raises ValueError."""
    return _context()[1].control


def metering_of_context() -> str:
    """The addresses of metering nodes in the context; empty without a context. Raises ValueError where it has none."""
    name, context = _context()
    if context.control and not context.nodes:
        raise ValueError(
            f"the context {name} does not say where its metering nodes listen; log in there again by "
            f"`tallygate login {name} --metering HOST:PORT`, or name one by --metering"
        )
    return context.nodes


def what_to_show(option: str, address: str) -> str:
    """What proves who one is to the server at this address, which was shown nothing; as the end of a sentence."""
    name, context = _context()
    if not name or ContextStore.of(os.environ).token(name) is None:
        return "give a token with --token-file, or log in by `tallygate login`"
    return (
        f"the token of the context {name} is for its own addresses only: log in with this one, too, by "
        f"`tallygate login {name} --control {context.control} {option} {address}`, or give a token with --token-file"
    )


def current_context_name() -> str:
    """The name of the context that commands use; empty where there is none. Raises ValueError."""
    return _context()[0]


def _of_context(addresses: Sequence[str]) -> Security:
    name, context = _context()
    known = {*context.control.split(","), *context.nodes.split(",")} - {""}
    if not known.issuperset(addresses):
        return PLAIN
    kept = ContextStore.of(os.environ).token(name)
    return Security(context.ca_file, context.cert_file, context.key_file, token=kept.token if kept else "")


def _context() -> tuple[str, Context]:
    return current_context(os.environ)


def pair_security() -> Security:
    """How services are spoken to that this command starts, with its own environment. Raises ValueError."""
    if not os.environ.get(SERVES_BY_TLS):
        return PLAIN
    security = given_security()
    if not security.has_tls:
        raise ValueError(
            f"{SERVES_BY_TLS} is set, so both services serve by TLS: set {VARIABLES.ca}, too, to the file of the "
            "authority by which they are known."
        )
    return security
