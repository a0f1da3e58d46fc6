"""Networks of API keys."""

import pytest

from control_service.domain.key_networks import first_twice, parse_network


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:DB8:0:0::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
    ],
)
def test_a_network_has_one_form(text: str, network: str) -> None:
    """The shortest, with its length; IPv4 where it is IPv4."""
    assert parse_network(text) == network


@pytest.mark.parametrize(
    "text", ["", "192.0.2.1/24", "192.0.2.0/33", "fe80::1%eth0", "example.org", "10.1", " 10.0.0.0/8", "1" * 100]
)
def test_what_is_no_network_is_refused(text: str) -> None:
    """Bits beyond the length are a slip: somebody meant another network."""
    assert parse_network(text) is None


def test_a_network_that_is_there_twice_is_found() -> None:
    """At its second place."""
    assert first_twice(["10.0.0.0/8", "::/0"]) is None
    assert first_twice(["10.0.0.0/8", "::/0", "10.0.0.0/8"]) == 2
