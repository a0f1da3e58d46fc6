"""Upstreams of the proxy: how they are said, and which one has a model."""

from __future__ import annotations

import pytest

from tallygate.integrations.proxy.headers import request_headers, response_headers
from tallygate.integrations.proxy.upstreams import Upstreams, model_of, read_upstreams

A, B = "http://a:8000", "https://b/base"


@pytest.mark.parametrize(
    ("texts", "read"),
    [
        ([A], Upstreams(A, {})),
        ([f"{A}/"], Upstreams(A, {})),
        ([f"{A},m={B}"], Upstreams(A, {"m": B})),
        ([A, f"m={B}"], Upstreams(A, {"m": B})),
        ([f"meta-llama/Llama-3.1={A} m={B}"], Upstreams("", {"meta-llama/Llama-3.1": A, "m": B})),
        (["http://a/x=1"], Upstreams("http://a/x=1", {})),
    ],
)
def test_upstreams_are_read(texts: list[str], read: Upstreams) -> None:
    """One for all models, or some for some."""
    assert read_upstreams(texts) == read


@pytest.mark.parametrize(
    "texts", [[], [""], ["a:8000"], ["ftp://a"], [A, B], [f"m={A}", f"m={B}"], ["http://"], [A + "?x=1"]]
)
def test_what_is_no_set_of_upstreams_is_refused(texts: list[str]) -> None:
    """With what to write."""
    with pytest.raises(ValueError, match=r"http://|MODEL=URL"):
        read_upstreams(texts)


def test_a_model_is_found_by_the_body() -> None:
    """Whoever names none, or another one, gets the upstream of all others."""
    upstreams = Upstreams(A, {"m": B})
    assert upstreams.of(b'{"model": "m"}') == B
    assert [upstreams.of(body) for body in (b"", b"{}", b"[]", b"x", b'{"model": 1}', b'{"model": "n"}')] == [A] * 6
    assert Upstreams("", {"m": B}).of(b"{}") == ""
    assert Upstreams("", {"m": B}).first == B
    assert model_of(b'{"model": "m"}') == "m"


def test_headers_of_one_connection_are_not_passed_on() -> None:
    """Neither those that HTTP names nor those that the connection header names."""
    headers = [(b"Connection", b"close, X-One"), (b"X-One", b"1"), (b"TE", b"trailers"), (b"X-Two", b"2")]
    assert response_headers(headers) == [(b"x-two", b"2")]


def test_an_upstream_without_a_key_gets_no_credential() -> None:
    """Not even that of the end user."""
    headers = [(b"authorization", b"Bearer sk"), (b"cookie", b"a=b"), (b"api-key", b"sk"), (b"content-type", b"a/b")]
    assert request_headers(headers, "") == [("content-type", "a/b"), ("accept-encoding", "identity")]
