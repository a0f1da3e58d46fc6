"""The options by which a node is sure of the control service, and control of the node."""

import argparse
from collections.abc import Sequence
from typing import Final

import structlog

from tallygate._channel import Channels
from tallygate._security import Names, Security, security_of
from tallygate._server.errors import ConfigurationError
from tallygate._server.process.options import Options

_NAMES: Final = Names("--control-ca", "--control-cert", "--control-key", "--control-token-file")

_log = structlog.get_logger(__name__)


def add_link_options(options: Options) -> None:
    """Add them."""
    ca, cert, key, token_file = _NAMES
    options.add(ca, "TALLYGATE_CONTROL_CA", None, "authorities of control's certificate; by TLS only", metavar="FILE")
    options.add(cert, "TALLYGATE_CONTROL_CERT", None, "certificate that control is shown", metavar="FILE")
    options.add(key, "TALLYGATE_CONTROL_KEY", None, "its key, without a password", metavar="FILE")
    options.add(token_file, "TALLYGATE_CONTROL_TOKEN_FILE", None, "token that control is sent", metavar="FILE")


def link_security_of(said: argparse.Namespace) -> Security:
    """What was said. Files are not opened. Raises ConfigurationError for half of it."""
    ca, cert, key, token_file = (
        text or "" for text in (said.control_ca, said.control_cert, said.control_key, said.control_token_file)
    )
    try:
        return security_of(_NAMES, ca, cert, key, token_file)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def told(security: Security) -> list[str]:
    """The options that say the same."""
    files = (security.ca_file, security.cert_file, security.key_file, security.token_file)
    return [part for name, file in zip(_NAMES, files, strict=True) for part in (name, str(file))]


def channels_to(addresses: Sequence[str], security: Security) -> Channels:
    """The way to control. Raises ConfigurationError for a file that is broken, and a token by plain text."""
    try:
        channels = Channels(security, _complain)
        for address in addresses:
            channels.check(address)
    except ValueError as error:
        raise ConfigurationError(f"The control service cannot be spoken to: {error}") from error
    return channels


def _complain(problem: str) -> None:
    _log.error("link_files_not_replaced", problem=problem, hint="new connections use what was read before")
