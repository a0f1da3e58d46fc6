"""Pages of lists, and the opaque tokens that say where the next one begins."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from tallygate._server.grpc.message_size import Encoded, fitting

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000

Key = TypeVar("Key", bound=tuple[str | int, ...])
Element = TypeVar("Element")

_INT64_MAX: Final = 2**63 - 1


def encode_page(
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
    return page, encode_page_token(request, key(found[len(page) - 1])) if len(page) < len(found) else ""


def encode_page_token(request: Any, key: Sequence[str | int]) -> str:
    """The token of the page after the element with this key."""
    packed = json.dumps([_digest(request), *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(packed.encode()).decode().rstrip("=")


def decode_page_token(request: Any, first: Key) -> Key | None:
    """The key after which the page begins that a list request with `page_token` asks for.

    Args:
        request: any list request.
        first: the key before the first element, which it is without a token; tells what keys look like.

    Returns:
        None for a token that is not from this list with these filters.
    """
    if not request.page_token:
        return first
    found = _parse(request.page_token)
    if found is None or found[0] != _digest(request) or not _alike(found[1:], first):
        return None
    return found[1:]  # type: ignore[return-value]  # _alike has looked at it


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
