"""Addresses to listen on."""

import pytest

from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.listen import parse_listen, require_free, require_safe


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:7401", ("127.0.0.1", 7401)), ("[::1]:0", ("[::1]", 0)), ("localhost:65535", ("localhost", 65_535))],
)
def test_parse(listen: str, expected: tuple[str, int]) -> None:
    """Host and port are told apart at the last colon."""
    assert parse_listen(listen) == expected


@pytest.mark.parametrize("listen", ["", "127.0.0.1", ":7401", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "h:-1"])
def test_malformed(listen: str) -> None:
    """What is no address is refused in a sentence that shows what one looks like."""
    with pytest.raises(ConfigurationError, match=r"write HOST:PORT"):
        parse_listen(listen)


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.8.8.8:1", "localhost:1", "[::1]:1"])
def test_loopback_is_safe(listen: str) -> None:
    """Plain text within the machine is fine."""
    require_safe(listen, insecure=False)


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1"])
def test_a_network_is_refused_unless_insecure(listen: str) -> None:
    """Plain text on a network needs somebody to say that they want it."""
    with pytest.raises(ConfigurationError, match=r"without TLS.*--tls-cert and --tls-key.*--insecure"):
        require_safe(listen, insecure=False)
    require_safe(listen, insecure=True)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0"])
def test_a_free_address_is_free(listen: str) -> None:
    """Asking takes nothing, so that one can ask again, and then bind."""
    require_free(listen)
    require_free(listen)


@pytest.mark.parametrize("listen", ["192.0.2.1:0", "no-such-host.invalid:0"])
def test_an_address_of_another_machine_is_refused(listen: str) -> None:
    """The sentence has the system's reason."""
    with pytest.raises(ConfigurationError, match=rf"Cannot listen on {listen}: .+; choose another address"):
        require_free(listen)
