"""Pages of lists: their begin and their length."""

from typing import Any

from control_service.api.fields import Fields
from tallygate._server.grpc.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Key, decode_page_token


def decode_page(fields: Fields, request: Any, first: Key) -> tuple[Key, int]:
    """The key after which the page begins, and how many elements it has at most.

    Args:
        fields: takes note of a bad size, and of a token that is not from the same list.
        request: any list request, with `page_size` and `page_token`.
        first: the key before the first element; tells what keys look like.
    """
    size = fields.number("page_size", request.page_size, 0, 2**31 - 1) or PAGE_SIZE_DEFAULT
    key = decode_page_token(request, first)
    if key is None:
        fields.refuse("page_token", "must be the next_page_token of the page before, with the same filters")
    return key or first, min(size, PAGE_SIZE_MAX)
