"""Pages of lists, and the opaque tokens that say where the next one begins."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from tallygate._server.grpc.caller import current_caller
from tallygate._server.grpc.message_size import Encoded, fitting
from tallygate._server.page_keys import SIGNATURE_BYTES, PageKeys

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000

Key = TypeVar("Key", bound=tuple[str | int, ...])
Element = TypeVar("Element")

_INT64_MAX: Final = 2**63 - 1
_KEYS: Final[ContextVar[PageKeys]] = ContextVar("page_keys", default=PageKeys())  # noqa: B039  # knows no keys, and is never changed


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
    """The token of the page after the element with this key, for this list, these filters and this caller."""
    content = json.dumps(key, separators=(",", ":")).encode()
    signed = _KEYS.get().sign(_bound(request, content)) + content
    return base64.urlsafe_b64encode(signed).decode().rstrip("=")


def decode_page_token(request: Any, first: Key) -> Key | None:
    """The key after which the page begins that a list request with `page_token` asks for.

    Args:
        request: any list request.
        first: the key before the first element, which it is without a token; tells what keys look like.

    Returns:
        None for a token that was not given to this caller for this list with these filters.
    """
    if not request.page_token:
        return first
    signature, content = _split(request.page_token)
    if not _KEYS.get().is_signed(_bound(request, content), signature):
        return None
    found = tuple(json.loads(content))
    return found if _alike(found, first) else None  # type: ignore[return-value]  # _alike has looked at it


def set_page_keys(keys: PageKeys) -> None:
    """Remember the server's keys for the task that serves an RPC."""
    _KEYS.set(keys)


def _split(token: str) -> tuple[bytes, bytes]:
    """The signature and the content in a token; an empty signature, which is none's, where it is no such text."""
    try:
        signed = base64.b64decode((token + "=" * (-len(token) % 4)).encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b"", b""
    return signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]


def _alike(key: tuple[Any, ...], model: tuple[str | int, ...]) -> bool:
    return len(key) == len(model) and all(
        type(part) is type(wanted) and (0 <= part <= _INT64_MAX if isinstance(part, int) else "\x00" not in part)
        for part, wanted in zip(key, model, strict=True)
    )


def _bound(request: Message, content: bytes) -> bytes:
    """The content together with all that it is good for: the list, its filters, the caller. Lengths keep them apart."""
    bare: Any = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("page_size")
    bare.ClearField("page_token")
    parts = (
        type(request).DESCRIPTOR.full_name.encode(),
        current_caller().member.encode(),
        bare.SerializeToString(deterministic=True),
    )
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts) + content
