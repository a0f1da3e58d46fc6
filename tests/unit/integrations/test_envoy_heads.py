"""Heads of requests as Envoy sends them, as ASGI has them, and back."""

from __future__ import annotations

import pytest

from tallygate.integrations.envoy import ext_proc_pb2 as wire
from tallygate.integrations.envoy.heads import mutation, scope_of


def first(*headers: tuple[str, str], address: str = "") -> wire.ProcessingRequest:
    message = wire.ProcessingRequest()
    for name, value in headers:
        message.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    if address:
        message.attributes["envoy.filters.http.ext_proc"].fields["source.address"].string_value = address
    return message


def test_a_request_is_what_the_server_behind_will_see() -> None:
    """Its path decoded once, as servers do, and its query apart."""
    scope = scope_of(
        first((":method", "POST"), (":path", "/v1/a%20b?c=%20"), (":scheme", "https"), ("x-a", "1"), ("x-a", "2"))
    )
    assert (scope["type"], scope["method"], scope["scheme"]) == ("http", "POST", "https")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/v1/a b", b"/v1/a%20b", b"c=%20")
    assert scope["headers"] == [(b"x-a", b"1"), (b"x-a", b"2")]


def test_text_values_of_older_versions_are_read() -> None:
    """Envoy gives bytes today, and gave text before."""
    message = wire.ProcessingRequest()
    message.request_headers.headers.headers.add(key=":path", value="/v1/models")
    assert scope_of(message)["path"] == "/v1/models"


@pytest.mark.parametrize(
    "headers", [[(":method", "GET"), ("upgrade", "WebSocket")], [(":method", "CONNECT"), (":protocol", "websocket")]]
)
def test_a_websocket_is_one_by_either_version_of_http(headers: list[tuple[str, str]]) -> None:
    """An upgrade in one, an extended CONNECT in the other."""
    assert scope_of(first(*headers))["type"] == "websocket"


@pytest.mark.parametrize(
    ("address", "client"),
    [("192.0.2.1:80", ("192.0.2.1", 80)), ("[2001:db8::1]:80", ("2001:db8::1", 80)), ("", None), ("pipe", None)],
)
def test_a_client_is_who_envoy_says_it_is(address: str, client: tuple[str, int] | None) -> None:
    """Never what a header says, which anybody can write."""
    headers = ((":path", "/"), ("x-forwarded-for", "198.51.100.1"))
    assert scope_of(first(*headers, address=address))["client"] == client


def test_only_what_differs_is_changed() -> None:
    """Lengths are left to Envoy; of several values, the first one replaces and the others are added."""
    old = [(b"a", b"1"), (b"b", b"1"), (b"content-length", b"5")]
    changed = mutation(old, [(b"a", b"1"), (b"c", b"1"), (b"c", b"2"), (b"content-length", b"7")])
    assert list(changed.remove_headers) == ["b"]
    assert [(one.header.key, one.header.raw_value, one.append.value) for one in changed.set_headers] == [
        ("c", b"1", False),
        ("c", b"2", True),
    ]
