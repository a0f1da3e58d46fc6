"""Page tokens: where the next page of a list begins."""

import base64
import json

import pytest

from tallygate._server.grpc.paging import decode_page_token, encode_page_token
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
def test_a_key_of_another_shape_is_none(key: tuple[object, ...]) -> None:
    """It would reach the database; a zero byte, which PostgreSQL takes in no text, as well."""
    (digest, *_) = json.loads(base64.urlsafe_b64decode(encode_page_token(request(), ("r", "p")) + "=="))
    assert decode_page_token(request(packed(digest, *key)), FIRST) is None
