"""Networks from which an API key may be used."""

import ipaddress
from collections.abc import Sequence
from typing import Final

NETWORK_COUNT_MAX: Final = 50
"""Maximum number of networks of one key."""
NETWORK_TEXT_MAX: Final = 64
"""Maximum length of a network's text."""


def parse_network(text: str) -> str | None:
    """The network as it is stored: shortest form, with its prefix length; None where the text is none.

    A network that is written in IPv6 as a mapped IPv4 one is that IPv4 network: addresses are compared unmapped.
    """
    if len(text) > NETWORK_TEXT_MAX or "%" in text:
        return None
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= _MAPPED_BITS:
            return str(ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS)))
    return str(network)


def first_twice(networks: Sequence[str]) -> int | None:
    """The place of the first network that is there before; None where each is there once."""
    return next((place for place, one in enumerate(networks) if one in networks[:place]), None)


_MAPPED_BITS: Final = 96
"""Number of bits before the IPv4 address in a mapped one."""
