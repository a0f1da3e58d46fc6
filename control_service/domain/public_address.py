"""Addresses that messages may be sent to: globally reachable unicast, whatever form an address comes in.

Who names a webhook chooses where this server connects to. An address that leads into a network of its own is refused,
also where another one carries it: mapped, translated or tunnelled.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_V4_REFUSED: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by customers of a provider
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local: where clouds tell machines their secrets
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # name service of the reverse tree
        "192.52.193.0/24",  # multicast tunnels
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # name service of the reverse tree
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_V6_UNICAST: Final = IPv6Network("2000::/3")
"""Block that all global unicast addresses are from."""
_V6_REFUSED: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2620:4f:8000::/48",  # name service of the reverse tree
        "3fff::/20",  # documentation
    )
)
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")
_LOOPBACK: Final = IPv6Address("::1")
_V6_NEVER: Final = tuple(
    IPv6Network(text)
    for text in (
        "::/96",  # unspecified, and IPv4 addresses in a form that nobody uses any more
        "::ffff:0:0:0/96",  # translated inside a network
        "64:ff9b:1::/48",  # translated inside a network
        "2001::/32",  # Teredo
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
    )
)
_V4_NEVER: Final = tuple(IPv4Network(text) for text in ("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"))
_LOW_BITS: Final = 0xFFFF_FFFF
_SIX_TO_FOUR_SHIFT: Final = 80


def parse_address(text: str) -> Address | None:
    """The address in a text; None where it is none, or one of a single link."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id is not None else address


def is_public(address: Address) -> bool:
    """Whether packets to this address leave for the internet, and for one host there."""
    address = carried(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _V4_REFUSED)
    return address in _V6_UNICAST and not any(address in network for network in _V6_REFUSED)


def may_be_private(address: Address) -> bool:
    """Whether the address is a host's in some network: not of a link alone, where clouds keep secrets, nor of many."""
    address = carried(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _V4_NEVER)
    return address == _LOOPBACK or not any(address in network for network in _V6_NEVER)


def carried(address: Address) -> Address:
    """The address that packets end up at: the IPv4 address in one that is mapped, translated or tunnelled."""
    if isinstance(address, IPv6Address):
        if address in _MAPPED or address in _TRANSLATED:
            return IPv4Address(int(address) & _LOW_BITS)
        if address in _SIX_TO_FOUR:
            return IPv4Address(int(address) >> _SIX_TO_FOUR_SHIFT & _LOW_BITS)
    return address
