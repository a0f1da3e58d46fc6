"""Who counts as one peer."""

import pytest

from tallygate._server.grpc.caller import peer_network


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:4711", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2::9%5D:4711", "2001:db8:1:2::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::/64"),
        ("ipv6:[::ffff:192.0.2.1]:4711", "192.0.2.1"),
        ("unix:/run/socket", "unix"),
        ("ipv4:nonsense:1", "nonsense"),
        ("unix:", "unix"),
    ],
)
def test_a_peer_is_its_address(peer: str, address: str) -> None:
    """Not the port, which it may choose, nor the half of an IPv6 address that it may choose."""
    assert peer_network(peer) == address
