"""Heads of requests and answers: as Envoy has them, and as ASGI has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote

from tallygate.integrations.asgi_types import Scope
from tallygate.integrations.envoy import ext_proc_pb2 as wire

Headers = list[tuple[bytes, bytes]]

ATTRIBUTES: Final = "envoy.filters.http.ext_proc"
"""Name under which Envoy sends the attributes that its filter is configured to."""
CLIENT: Final = "source.address"
"""Name of the attribute that has a client's address, as far as Envoy trusts what it was told of it."""
_NOT_OURS: Final = frozenset({b"content-length", b"transfer-encoding"})
"""Headers of a message's length, which Envoy writes itself, since a body that streams may change on its way."""


def headers_of(head: wire.HttpHeaders) -> Headers:
    """Headers, pseudo-headers of HTTP/2 included. Envoy gives their values as bytes, older versions as text."""
    return [(one.key.encode(), one.raw_value or one.value.encode()) for one in head.headers.headers]


def scope_of(first: wire.ProcessingRequest) -> Scope:
    """A request as ASGI has it. Its `send` raises nothing when the client is gone: what comes late is still counted."""
    pseudo: dict[bytes, bytes] = {}
    headers: Headers = []
    for name, value in headers_of(first.request_headers):
        if name.startswith(b":"):
            pseudo[name] = value
        else:
            headers.append((name, value))
    raw_path, _, query = pseudo.get(b":path", b"").partition(b"?")
    upgrade = dict(headers).get(b"upgrade", pseudo.get(b":protocol", b""))
    scope: dict[str, Any] = {
        "type": "websocket" if upgrade.lower() == b"websocket" else "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": pseudo.get(b":method", b"").decode("latin-1"),
        "scheme": pseudo.get(b":scheme", b"http").decode("latin-1"),
        "path": unquote(raw_path.decode("latin-1")),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": _client(first),
        "extensions": {"websocket.http.response": {}},
    }
    return scope


def status_of(head: wire.HttpHeaders) -> int:
    """The status of an answer."""
    return int(dict(headers_of(head)).get(b":status", b"0"))


def answer_headers(head: wire.HttpHeaders) -> Headers:
    """Headers of an answer, without its status."""
    return [(name, value) for name, value in headers_of(head) if not name.startswith(b":")]


def mutation(old: Iterable[tuple[bytes, bytes]], new: Iterable[tuple[bytes, bytes]]) -> wire.HeaderMutation:
    """What Envoy has to do to make one list of headers of another."""
    before, after = _by_name(old), _by_name(new)
    changed = wire.HeaderMutation(remove_headers=[name.decode("latin-1") for name in before if name not in after])
    for name, values in after.items():
        if before.get(name) != values:
            add(changed, name, values)
    return changed


def add(changed: wire.HeaderMutation, name: bytes, values: Iterable[bytes]) -> None:
    """Adds a header with these values, instead of what there was under its name."""
    is_first = True
    for value in values:
        option = changed.set_headers.add(header=wire.HeaderValue(key=name.decode("latin-1"), raw_value=value))
        if is_first:
            option.append_action = wire.OVERWRITE_IF_EXISTS_OR_ADD
        else:
            option.append.value = True
        is_first = False


def _by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name not in _NOT_OURS:
            found.setdefault(name, []).append(value)
    return found


def _client(first: wire.ProcessingRequest) -> tuple[str, int] | None:
    """The client's address, where the filter is configured to send it."""
    if ATTRIBUTES not in first.attributes:
        return None
    fields = first.attributes[ATTRIBUTES].fields
    host, _, port = (fields[CLIENT].string_value if CLIENT in fields else "").rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else None
