"""Addresses that webhooks may lead to. Nothing is connected to."""

import ipaddress

import pytest

from control_service.domain.public_address import is_public, may_be_private, parse_address

ANY = "0.0.0.0"  # noqa: S104  # nothing is bound
REFUSED = (
    # This host, its links and private networks.
    *(ANY, "0.1.2.3", "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255"),
    *("192.168.1.1", "100.64.0.1", "100.127.255.255", "169.254.169.254", "169.254.0.1"),
    # Assigned to something else, documentation, benchmarks, many hosts, nobody.
    *("192.0.0.1", "192.0.0.170", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1"),
    *("198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250"),
    *("240.0.0.1", "255.255.255.255"),
    # The same in IPv6.
    *("::", "::1", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1", "100::1"),
    *("2001:db8::1", "3fff::1", "2001:2::1", "2001:10::1", "2001:20::1", "5f00::1", "4000::1", "1::1"),
    # IPv4 addresses in other clothes: mapped, compatible, translated, tunnelled.
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1", "::10.0.0.1", "::7f00:1"),
    *("64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::127.0.0.1", "64:ff9b:1::8.8.8.8"),
    *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:c0a8:101::", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
)
PUBLIC = (
    *(
        "8.8.8.8",
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "223.255.255.254",
    ),
    *(
        "2606:4700:4700::1111",
        "2a00:1450:4001::1",
        "2400:cb00::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ),
)
NEVER = (
    *(
        ANY,
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "ff02::1",
        "::ffff:169.254.169.254",
    ),
    *("64:ff9b::169.254.169.254", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001::1", "::169.254.169.254"),
)
PRIVATE = ("127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd00::1", "::ffff:10.0.0.1", "100.64.0.1", "8.8.8.8")


@pytest.mark.parametrize("text", REFUSED)
def test_what_does_not_leave_for_one_host_of_the_internet_is_refused(text: str) -> None:
    """However the address is written."""
    address = parse_address(text)
    assert address is not None
    assert not is_public(address)


@pytest.mark.parametrize("text", PUBLIC)
def test_hosts_of_the_internet_are_reached(text: str) -> None:
    """Also those that stand beside what is refused, or are carried by another address."""
    address = parse_address(text)
    assert address is not None
    assert is_public(address)


def test_nothing_is_public_that_the_registry_knows_as_private() -> None:
    """The standard library has a table of its own: what it refuses is refused here, but for carriers."""
    carriers = [ipaddress.ip_network(text) for text in ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16")]
    for text in (*REFUSED, *PUBLIC):
        address = parse_address(text)
        assert address is not None
        if is_public(address) and not any(address in network for network in carriers):
            assert address.is_global
            assert not address.is_multicast


@pytest.mark.parametrize("text", NEVER)
def test_some_addresses_are_refused_even_where_private_ones_are_allowed(text: str) -> None:
    """Those of one link alone, by which clouds tell machines their secrets, of many hosts, and of none."""
    address = parse_address(text)
    assert address is not None
    assert not may_be_private(address)


@pytest.mark.parametrize("text", PRIVATE)
def test_private_networks_can_be_allowed(text: str) -> None:
    """Loopback among them, for tests."""
    address = parse_address(text)
    assert address is not None
    assert may_be_private(address)


@pytest.mark.parametrize(
    "text", ["", "localhost", "0x7f.1", "127.1", "2130706433", "fe80::1%eth0", "::1%lo", "1.2.3.4:80"]
)
def test_what_is_no_address_is_none(text: str) -> None:
    """Short and odd forms are names to be looked up, and what comes of that is judged."""
    assert parse_address(text) is None
