"""Page tokens: where the next page of a list begins."""

import base64
import json
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from typing import Any

import pytest

from tallygate._server.grpc.caller import Caller, set_caller
from tallygate._server.grpc.paging import decode_page_token, encode_page_token, set_page_keys
from tallygate._server.page_keys import SECRET_BYTES, SETTLED_NS, PageKeys
from tallygate.control.v1.operations_service_pb2 import ListLeasesRequest, ListNodesRequest
from tallygate.metering.v1.usage_service_pb2 import ListRequestUsageRequest

SERVICE = "accounts/acme/services/chat"
FIRST = ("", "")


def request(token: str = "", service: str = SERVICE) -> ListRequestUsageRequest:
    return ListRequestUsageRequest(service=service, page_size=7, page_token=token)


def packed(*content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def test_a_token_leads_back_to_its_key() -> None:
    """For any page size; without a token the first page begins."""
    token = encode_page_token(request(), ("r-1", "n.1.2"))
    assert decode_page_token(request(token), FIRST) == ("r-1", "n.1.2")
    assert decode_page_token(ListRequestUsageRequest(service=SERVICE, page_token=token), FIRST) == ("r-1", "n.1.2")
    assert decode_page_token(request(), FIRST) == FIRST


def test_a_token_is_good_for_its_list_and_its_filters_only() -> None:
    """Another list's, or one with another filter, begins nowhere."""
    token = encode_page_token(request(), ("r-1", "p"))
    assert decode_page_token(request(token, "accounts/acme/services/other"), FIRST) is None
    nodes = encode_page_token(ListNodesRequest(), ("node-a",))
    assert decode_page_token(ListNodesRequest(page_token=nodes), ("",)) == ("node-a",)
    assert decode_page_token(ListLeasesRequest(page_token=nodes), ("",)) is None


@pytest.mark.parametrize("token", ["?", "é", "////", "bm8=", packed(), packed(1, 2), "W" * 20_000])
def test_what_was_made_up_is_no_token(token: str) -> None:
    """Whatever it is, it is refused and nothing breaks."""
    assert decode_page_token(request(token), FIRST) is None


@pytest.mark.parametrize("key", [("r",), ("r", "p", "q"), ("r", 1), ("r", None), ("r", "\0"), ("r", True)])
def test_a_key_of_another_shape_is_none(key: Sequence[Any]) -> None:
    """It would reach the database; a zero byte, which PostgreSQL takes in no text, as well."""
    assert decode_page_token(request(encode_page_token(request(), key)), FIRST) is None


@pytest.fixture
def keys() -> Iterator[PageKeys]:
    """Keys by which this test's tokens are signed."""
    keys = PageKeys()
    keys.take({1: b"a" * SECRET_BYTES}, 0)
    set_page_keys(keys)
    yield keys
    set_page_keys(PageKeys())


def test_a_token_that_was_altered_or_made_up_is_none(keys: PageKeys) -> None:
    """Each bit of it counts, and so does who made it; every other server with the key takes it."""
    token = encode_page_token(request(), ("r-1", "p"))
    raw = base64.urlsafe_b64decode(token + "==")
    for place in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[place] ^= 1 << bit
            text = base64.urlsafe_b64encode(changed).decode().rstrip("=")
            assert decode_page_token(request(text), FIRST) is None
    for length in range(len(raw)):
        cut = base64.urlsafe_b64encode(raw[:length]).decode().rstrip("=")
        assert not cut or decode_page_token(request(cut), FIRST) is None
    set_page_keys(PageKeys())
    assert decode_page_token(request(token), FIRST) is None
    other = PageKeys()
    other.take({1: b"a" * SECRET_BYTES, 2: b"b" * SECRET_BYTES}, 0)
    set_page_keys(other)
    assert decode_page_token(request(token), FIRST) == ("r-1", "p")
    other.take({1: b"c" * SECRET_BYTES}, 0)
    assert decode_page_token(request(token), FIRST) is None


def test_a_token_is_its_callers(keys: PageKeys) -> None:
    """Whoever else comes with it begins nowhere."""
    context = copy_context()
    context.run(set_caller, Caller("person:https://sso#ann"))
    token = context.run(encode_page_token, request(), ("r-1", "p"))
    assert context.run(decode_page_token, request(token), FIRST) == ("r-1", "p")
    assert decode_page_token(request(token), FIRST) is None
    context.run(set_caller, Caller("person:https://sso#bob"))
    assert context.run(decode_page_token, request(token), FIRST) is None


def test_a_new_key_signs_once_all_have_it(keys: PageKeys) -> None:
    """It counts at once, and signs when it was known for a minute; the last key but one goes on counting."""

    def number(token: str) -> int:
        return int.from_bytes(base64.urlsafe_b64decode(token + "==")[:4], "big")

    before = encode_page_token(request(), ("r-1", "p"))
    both = {1: b"a" * SECRET_BYTES, 2: b"b" * SECRET_BYTES}
    for now_ns, signing in ((1, 1), (SETTLED_NS, 1), (SETTLED_NS + 1, 2)):
        keys.take(both, now_ns)
        assert number(encode_page_token(request(), ("r-1", "p"))) == signing
    assert decode_page_token(request(before), FIRST) == ("r-1", "p")
    keys.take({}, SETTLED_NS + 2)
    assert decode_page_token(request(before), FIRST) == ("r-1", "p")
    keys.take({2: both[2], 3: b"c" * SECRET_BYTES}, SETTLED_NS + 3)
    assert decode_page_token(request(before), FIRST) is None
