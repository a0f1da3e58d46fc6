"""Networks that an API key may be used from, and whether an address is in one of them."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

MAPPED_PREFIX: Final = 96
"""Number of bits before the IPv4 address in an IPv6 address that stands for one."""


class Network(NamedTuple):
    """All addresses of one version from the first to the last, as numbers: a tenth of what `ipaddress` makes of it."""

    version: int
    first: int
    last: int


NOWHERE: Final = Network(0, 0, 0)
"""Network that no address is in: a text that this program cannot read opens nothing."""


def parse_network(text: str) -> Network:
    """A network such as `192.0.2.0/24`; an IPv6 one that stands for an IPv4 one is that."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return NOWHERE
    first, last = network.network_address, network.broadcast_address
    if isinstance(network, IPv6Network) and network.prefixlen >= MAPPED_PREFIX:
        return Network(_unmapped(first).version, int(_unmapped(first)), int(_unmapped(last)))
    return Network(network.version, int(first), int(last))


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address, as text, is in one of these networks; one that is missing or unreadable is in none."""
    try:
        read = _unmapped(ip_address(address))
    except ValueError:
        return False
    version, number = read.version, int(read)
    return any(network.version == version and network.first <= number <= network.last for network in networks)


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for; any other as it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
