"""Intake of a request before its body is parsed: the headers that matter, and the body's bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tallygate.integrations.asgi_types import Receive, Scope
from tallygate.integrations.openai.encodings import JSON, Encoding
from tallygate.integrations.openai.form import FormEncoding

_JSON_LIKE = frozenset({b"", b"application/json", b"text/json", b"text/plain", b"application/octet-stream"})
"""Types of bodies that apps read as JSON, if at all. Forms are not among them: an app could read another request."""
_KEY_HEADERS = (b"x-api-key", b"api-key")
"""Headers in which clients of Anthropic and of Azure put their keys."""
PROVED_KEY = "tallygate.api_key"
"""Member of a scope with the key that whoever called this app has proved; clients cannot write there."""
_SAMPLED = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]")
"""Form of a `traceparent` that says that its trace is recorded."""


_FORM = re.compile(
    rb"(?i:multipart/form-data)[ \t]*"
    rb"(?:;[ \t]*(?i:charset)=\"?(?i:utf-8)\"?[ \t]*)?"
    rb"(?:;[ \t]*(?i:boundary)=(?:\"(?P<quoted>[0-9A-Za-z'()+_,./:=?-]{1,70})\"|(?P<plain>[0-9A-Za-z'+_.-]{1,70})))"
)


class UnreadableError(Exception):
    """A body is none that is read here; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body.

    Attributes:
        encoding: How it is written.
        raw: The bytes, as far as they were read.
        is_too_long: There are more than may be read.
        has_ended: Nothing more will come.
    """

    encoding: Encoding
    raw: bytes
    is_too_long: bool = False
    has_ended: bool = True


async def read_body(scope: Scope, receive: Receive, bytes_max: int, *, is_form: bool) -> Body | None:
    """The request's body; as soon as it is longer than it may be without the rest; None if the client hung up.

    Args:
        scope: Of the request.
        receive: From the client.
        bytes_max: Longer ones are not read to their end.
        is_form: It has to be a form; all others have to be JSON.

    Raises:
        UnreadableError: By the request's headers it is written in another way, or compressed. Nothing of it was read.
    """
    encoding = _find_encoding(scope, is_form=is_form)
    message = await receive()
    whole = bytearray()
    while message["type"] == "http.request":
        piece = message.get("body", b"")
        has_ended = not message.get("more_body", False)
        if len(whole) + len(piece) > bytes_max:
            return Body(encoding, b"", is_too_long=True, has_ended=has_ended)
        if has_ended and not whole:
            return Body(encoding, piece)
        # One by one, small pieces would take many times as much memory as what is in them.
        whole += piece
        if has_ended:
            return Body(encoding, bytes(whole))
        message = await receive()
    return None


def find_api_key(scope: Scope) -> str:
    """The key by which the client says who it is: a bearer's, else that of `x-api-key` or `api-key`; empty if none."""
    proved = scope.get(PROVED_KEY)
    if isinstance(proved, str):
        return proved
    others: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        lower = name.lower()
        if lower == b"authorization":
            scheme, _, key = value.strip().partition(b" ")
            if scheme.lower() == b"bearer" and key.strip():
                return str(key.strip().decode("latin-1"))
        elif lower in _KEY_HEADERS:
            others.setdefault(lower, value.strip())
    return next((others[name].decode("latin-1") for name in _KEY_HEADERS if others.get(name)), "")


def trace_labels(scope: Scope) -> dict[str, str] | None:
    """The label by which a node joins a request to its trace; None of a request whose trace nobody samples."""
    for name, value in scope["headers"]:
        if name.lower() == b"traceparent" and _SAMPLED.fullmatch(value.strip()):
            return {"traceparent": value.strip().decode("ascii")}
    return None


def _find_encoding(scope: Scope, *, is_form: bool) -> Encoding:
    kinds = []
    for name, value in scope["headers"]:
        lower = name.lower()
        if lower == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise UnreadableError("The request's body is compressed: send it as it is, without Content-Encoding.")
        if lower == b"content-type":
            kinds.append(value)
    if is_form:
        found = _FORM.fullmatch(kinds[0].strip()) if len(kinds) == 1 else None
        if found is None:
            raise UnreadableError("The request's body has to be a form: send it as multipart/form-data; boundary=...")
        return FormEncoding(found["quoted"] or found["plain"])
    if not all(map(_is_json, kinds)):
        raise UnreadableError(
            "The request's body has to be JSON in UTF-8: send it with Content-Type: application/json."
        )
    return JSON


def _is_json(content_type: bytes) -> bool:
    kind, *parameters = [part.strip().lower() for part in content_type.split(b";")]
    charsets = [part.partition(b"=")[2].strip(b" \"'") for part in parameters if part.startswith(b"charset")]
    is_utf8 = all(charset in {b"", b"utf-8", b"utf8", b"us-ascii"} for charset in charsets)
    return is_utf8 and (kind in _JSON_LIKE or kind.endswith(b"+json"))
