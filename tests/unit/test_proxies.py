"""Which proxy is taken to an address, and where none is."""

import pytest

from tallygate._proxies import by_way_of, channel_options, proxy_to

PROXY = "http://user:secret@proxy.example:3128"
SHOWN = "http://proxy.example:3128"
DIRECT = (("grpc.enable_http_proxy", 0),)
FAR = "node.example:7402"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:7402",
        "127.9.9.9:7402",
        "127.1:7402",
        "2130706433:7402",
        "0.0.0.0:7402",
        "[::1]:7402",
        "[0:0:0:0:0:0:0:1]:7402",
        "::1",
        "[::]:7402",
        "[::ffff:127.0.0.1]:7402",
        "localhost:7402",
        "LOCALHOST.:7402",
        "node.localhost:7402",
        "dns:///localhost:7402",
        "dns:localhost:7402",
        "ipv4:127.0.0.1:7402",
        "ipv6:[::1]:7402",
        "unix:/run/tallygate.sock",
        " 127.0.0.1:7402 ",
    ],
)
@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_this_machine_is_never_reached_by_a_proxy(address: str, variable: str) -> None:
    """However its address is written."""
    environment = {variable: PROXY}
    assert proxy_to(address, environment) == ""
    assert channel_options(address, environment) == DIRECT
    assert by_way_of(address, environment) == ""


@pytest.mark.parametrize(
    "address",
    [
        FAR,
        "10.0.0.7:7402",
        "[2001:db8::1]:7402",
        "localhost.example:7402",
        "128.0.0.1:7402",
        "mylocalhost:1",
        "unix-7.example:7402",
    ],
)
def test_any_other_address_is_left_to_the_environment(address: str) -> None:
    """And an error says which proxy that was, without what nobody should read."""
    environment = {"http_proxy": PROXY}
    assert proxy_to(address, environment) == f"http_proxy={SHOWN}"
    assert channel_options(address, environment) == ()
    assert SHOWN in by_way_of(address, environment)
    assert "secret" not in by_way_of(address, environment)


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, ""),
        ({"https_proxy": PROXY}, f"https_proxy={SHOWN}"),
        ({"http_proxy": "http://other:1", "https_proxy": PROXY}, f"https_proxy={SHOWN}"),
        ({"https_proxy": "http://other:1", "grpc_proxy": PROXY}, f"grpc_proxy={SHOWN}"),
        ({"http_proxy": PROXY, "grpc_proxy": ""}, ""),
        ({"HTTP_PROXY": PROXY}, ""),
        ({"all_proxy": PROXY}, ""),
        ({"http_proxy": "socks5://proxy:1080"}, ""),
        ({"http_proxy": "https://proxy:3128"}, ""),
        ({"http_proxy": "proxy:3128"}, ""),
        ({"http_proxy": "http://a@b:c@proxy.example:3128/path?x=secret"}, f"http_proxy={SHOWN}"),
    ],
)
def test_the_variables_that_grpc_reads(environment: dict[str, str], proxy: str) -> None:
    """In its order, and with the proxies that it can speak to."""
    assert proxy_to(FAR, environment) == proxy


@pytest.mark.parametrize("variable", ["no_grpc_proxy", "no_proxy", "NO_PROXY"])
@pytest.mark.parametrize(
    ("address", "excepted"),
    [
        (FAR, "node.example"),
        (FAR, "NODE.Example"),
        (FAR, ".example"),
        (FAR, "*.example"),
        (FAR, "example"),
        (FAR, "other, node.example:7402"),
        (FAR, "*"),
        ("10.0.0.7:7402", "10.0.0.7"),
        ("10.0.0.7:7402", "10.0.0.0/8"),
        ("[2001:db8::1]:7402", "2001:db8::/32"),
        ("[2001:db8::1]:7402", "[2001:db8::1]:7402"),
    ],
)
def test_exceptions_count_however_the_variable_is_spelled(variable: str, address: str, excepted: str) -> None:
    """Names with what is below them, addresses, networks, ports, everything."""
    assert channel_options(address, {"http_proxy": PROXY, variable: excepted}) == DIRECT


@pytest.mark.parametrize(
    ("address", "excepted"),
    [
        (FAR, "ode.example"),
        (FAR, "node.example:1"),
        (FAR, "10.0.0.0/8"),
        (FAR, ""),
        (FAR, ","),
        (FAR, "."),
        ("10.0.0.7:7402", "10.0.0"),
        ("11.0.0.7:7402", "10.0.0.0/8"),
    ],
)
def test_what_is_not_excepted(address: str, excepted: str) -> None:
    """A part of a name is not a domain above it."""
    assert channel_options(address, {"http_proxy": PROXY, "no_proxy": excepted}) == ()
