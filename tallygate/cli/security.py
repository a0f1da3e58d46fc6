"""Security of a command's channels: certificates and a token, by options before the command or by the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Final

import typer

from tallygate._security import PLAIN, VARIABLES, Names, Security, security_from, security_of

SERVES_BY_TLS: Final = "TALLYGATE_TLS_CERT"
"""Variable by which services that a command starts are made to serve by TLS."""

_OPTIONS: Final = ("--ca", "--cert", "--key", "--token-file")
_NAMES: Final = Names(*(f"{option} or {variable}" for option, variable in zip(_OPTIONS, VARIABLES, strict=True)))
_said: ContextVar[Callable[[], Security] | None] = ContextVar("security", default=None)


def security_options(
    *,
    ca: Annotated[
        str, typer.Option("--ca", metavar="FILE", envvar=VARIABLES.ca, help="Authorities of servers; TLS is used then.")
    ] = "",
    cert: Annotated[
        str, typer.Option("--cert", metavar="FILE", envvar=VARIABLES.cert, help="Certificate to show to servers.")
    ] = "",
    key: Annotated[str, typer.Option("--key", metavar="FILE", envvar=VARIABLES.key, help="Its key.")] = "",
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


def current_security() -> Security:
    """How the channels of this command are secured. Raises ValueError where half of it is said."""
    said = _said.get()
    return said() if said else security_from(os.environ)


def pair_security() -> Security:
    """How services are spoken to that this command starts, with its own environment. Raises ValueError."""
    if not os.environ.get(SERVES_BY_TLS):
        return PLAIN
    security = current_security()
    if not security.has_tls:
        raise ValueError(
            f"{SERVES_BY_TLS} is set, so both services serve by TLS: set {VARIABLES.ca}, too, to the file of the "
            "authority by which they are known."
        )
    return security
