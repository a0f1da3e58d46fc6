"""Web addresses that secrets are sent to, or trust is taken from: by TLS, but for this machine's own.

Imports only the standard library.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import SplitResult, urlsplit

URL_CHARACTERS_MAX: Final = 2_048
"""Maximum length of an address: about as much as browsers take."""


def address_problem(url: str) -> str:
    """What is wrong with an address, to go after its name; empty where nothing is."""
    if (
        len(url) > URL_CHARACTERS_MAX
        or not (url.isascii() and url.isprintable())
        or any(one in url for one in ' "<>\\')
    ):
        return "is no web address"
    parts = _split(url)
    if parts is None or not parts.hostname:
        return "is no web address with a host"
    if parts.username is not None or parts.password is not None:
        return "names a user, and what is in an address is in logs"
    if parts.fragment or url.endswith("#"):
        return "has a fragment, which is never sent"
    if parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(parts.hostname)):
        return ""
    return "must begin with https:// (http:// is for 127.0.0.1, ::1 and localhost alone)"


def is_this_machine(url: str) -> bool:
    """Whether the address is one of this machine's own, which is reached without a proxy."""
    parts = _split(url)
    return parts is not None and _is_this_machine(parts.hostname or "")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # reading it checks it
    except ValueError:
        return None
    return parts


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
