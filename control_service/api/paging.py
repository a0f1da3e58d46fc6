"""Pages of lists: how many, and opaque tokens for where the next one begins."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from control_service.api.fields import Fields
from control_service.domain.input_bounds import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX
from tallygate._server.grpc.message_size import Encoded, fitting

Key = TypeVar("Key", bound=tuple[str | int, ...])
Element = TypeVar("Element")

_INT64_MAX: Final = 2**63 - 1


def read_page(fields: Fields, request: Any, first: Key) -> tuple[Key, int]:
    """Where a page begins, and how long it is.

    Args:
        fields: takes note of a bad size, and of a token that is not from the same list.
        request: any list request, with `page_size` and `page_token`.
        first: the key before the first element; tells what keys look like.
    """
    size = fields.number("page_size", request.page_size, 0, 2**31 - 1) or PAGE_SIZE_DEFAULT
    key = first
    if request.page_token:
        found = _parse(request.page_token)
        if found is None or found[0] != _digest(request) or not _alike(found[1:], first):
            fields.refuse("page_token", "must be the next_page_token of the page before, with the same filters")
        else:
            key = found[1:]  # type: ignore[assignment]  # _alike has looked at it
    return key, min(size, PAGE_SIZE_MAX)


def fill_page(
    request: Any,
    found: Sequence[Element],
    limit: int,
    encode: Callable[[Element], Encoded],
    key: Callable[[Element], Sequence[str | int]],
) -> tuple[list[Encoded], str]:
    """A page of what was found, which is one more than the page has if there are more, and the token of the next page.

    A page has fewer elements than were asked for where more would make its message too large.
    """
    page = fitting(found[:limit], encode)
    return page, page_token(request, key(found[len(page) - 1])) if len(page) < len(found) else ""


def page_token(request: Any, key: Sequence[str | int]) -> str:
    """The token of the page after the element with this key."""
    packed = json.dumps([_digest(request), *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(packed.encode()).decode().rstrip("=")


def _parse(token: str) -> tuple[Any, ...] | None:
    try:
        padded = token + "=" * (-len(token) % 4)
        content = json.loads(base64.b64decode(padded.encode(), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return tuple(content) if isinstance(content, list) and content else None


def _alike(key: tuple[Any, ...], model: tuple[str | int, ...]) -> bool:
    return len(key) == len(model) and all(
        type(part) is type(wanted) and (0 <= part <= _INT64_MAX if isinstance(part, int) else "\x00" not in part)
        for part, wanted in zip(key, model, strict=True)
    )


def _digest(request: Message) -> str:
    """Stands for the list and its filters, so that a token is not taken to another list."""
    bare: Any = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("page_size")
    bare.ClearField("page_token")
    named = type(request).DESCRIPTOR.full_name.encode() + bare.SerializeToString(deterministic=True)
    return hashlib.sha256(named).hexdigest()[:16]
