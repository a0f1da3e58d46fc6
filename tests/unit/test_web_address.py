"""Which addresses secrets are sent to."""

import pytest

from tallygate._web_address import address_problem, is_this_machine


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com",
        "https://login.example.com:8443/realms/acme",
        "https://[2001:db8::1]/keys?version=2",
        "http://127.0.0.1:8080/realms/acme",
        "http://127.8.9.1",
        "http://[::1]:8080/",
        "http://localhost:8080",
        "HTTPS://login.example.com",
    ],
)
def test_safe_addresses(url: str) -> None:
    """TLS to anywhere, plain text to this machine."""
    assert address_problem(url) == ""


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "is no web address with a host"),
        ("login.example.com", "is no web address with a host"),
        ("https://", "is no web address with a host"),
        ("https:///keys", "is no web address with a host"),
        ("https://login.example.com:port", "is no web address with a host"),
        ("https://[::1", "is no web address with a host"),
        ("https://login.example.com/a b", "is no web address"),
        ("https://login.example.com/\n", "is no web address"),
        ("https://login.example.com\\@evil.example.com", "is no web address"),
        ("https://bücher.example.com", "is no web address"),
        ("https://" + "a" * 3_000, "is no web address"),
        ("https://ada@login.example.com", "names a user"),
        ("https://ada:secret@login.example.com", "names a user"),
        ("https://@login.example.com", "names a user"),
        ("https://login.example.com/#part", "has a fragment"),
        ("https://login.example.com/#", "has a fragment"),
        ("http://login.example.com", "must begin with https://"),
        ("http://127.0.0.1.example.com", "must begin with https://"),
        ("http://10.0.0.1", "must begin with https://"),
        ("http://0.0.0.0", "must begin with https://"),
        ("ftp://127.0.0.1", "must begin with https://"),
        ("file://localhost/etc/passwd", "must begin with https://"),
    ],
)
def test_addresses_that_are_refused(url: str, problem: str) -> None:
    """Each for its reason."""
    assert address_problem(url).startswith(problem)


def test_this_machine() -> None:
    """By its names and numbers, and no other."""
    assert is_this_machine("http://localhost:8080/keys")
    assert is_this_machine("https://[::1]/")
    assert not is_this_machine("https://login.example.com")
    assert not is_this_machine("https://[::1")
