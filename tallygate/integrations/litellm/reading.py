"""Translation between what LiteLLM's hooks know of a call and the request that it stands for. Imports no LiteLLM."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from tallygate.integrations.asgi_types import Scope
from tallygate.integrations.intake import PROVED_KEY
from tallygate.integrations.openai.request_json import BadRequestError
from tallygate.integrations.services import HashedKey

PATHS: Final[Mapping[str, str]] = {
    "acompletion": "/v1/chat/completions",
    "atext_completion": "/v1/completions",
    "aresponses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "aembedding": "/v1/embeddings",
}
"""Paths of the calls whose answers LiteLLM (1.110) shows to its hooks, by the call's type. Others,
such as rerankings, are answered without a hook, so that nothing of them could be recorded."""
RUN_NO_MODEL: Final = frozenset({"call_mcp_tool", "list_mcp_tools"})
"""Types of calls that run no model."""
LOGGING: Final = "litellm_logging_obj"
"""Name of the object that LiteLLM makes for each call and hands to each hook; a call id may be its client's choice."""
WEBSOCKETS: Final = frozenset({"_arealtime", "_aresponses_websocket"})

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_LITELLMS_OWN: Final = ("litellm", "_litellm", "proxy_server_request", "secret_fields", "metadata", "user_api_key")
"""Beginnings of the names that LiteLLM adds to what its client sent."""
_HIDES_USAGE: Final = "_litellm_strip_stream_usage"
_UNDO_METERING: Final = (
    "extra_body",
    "additional_drop_params",
    "fallbacks",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "user_config",
)
"""Fields by which a client could undo limits after they were read, or have another model than it names."""
_OVERRIDE: Final = "router_settings_override"
"""Field that has all of these fallbacks in one; LiteLLM itself writes a team's settings into it."""


def read_scope(data: Mapping[str, Any], call_type: str, api_key: str | None) -> Scope:
    """The request that a call stands for, with the key that LiteLLM has proved, of which it keeps the hash."""
    sent = data.get("proxy_server_request")
    request: Mapping[str, Any] = sent if isinstance(sent, Mapping) else {}
    kind = "websocket" if call_type in WEBSOCKETS else "http"
    address = _address(data)
    headers = request.get("headers")
    trace = headers.get("traceparent") if isinstance(headers, Mapping) else None
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "POST" if call_type in PATHS else str(request.get("method", "POST")),
        "path": PATHS.get(call_type) or urlsplit(str(request.get("url", ""))).path,
        "query_string": b"",
        "headers": [(b"traceparent", str(trace).encode("latin-1", "replace"))] if trace else [],
        "client": (address, 0) if address else None,
        PROVED_KEY: hashed_key(api_key),
    }


def hashed_key(api_key: str | None) -> str:
    """The key in LiteLLM's words: the hash of one that begins with `sk-`, else the key itself."""
    if not api_key:
        return ""
    return HashedKey(api_key if _HASH.fullmatch(api_key) else sha256(api_key.encode()).hexdigest())


def read_body(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a call that its client sent.

    Raises:
        BadRequestError: It has fields that would undo what is decided here, or names several models.
    """
    sent = data.get("proxy_server_request")
    body = sent.get("body") if isinstance(sent, Mapping) else None
    says_override = isinstance(body, Mapping) and body.get(_OVERRIDE)
    for name in (*_UNDO_METERING, *([_OVERRIDE] if says_override else ())):
        if data.get(name):
            raise BadRequestError(f"`{name}` cannot be metered here: leave it out.", name)
    model = data.get("model")
    if isinstance(model, str) and "," in model:
        raise BadRequestError("The request names several models: send one request for each.", "model")
    # Where LiteLLM asks for usage on its own behalf, its client has not asked for any.
    hidden = {"stream_options"} if data.get(_HIDES_USAGE) else set()
    return {name: value for name, value in data.items() if name not in hidden and not name.startswith(_LITELLMS_OWN)}


def logging_object(data: Mapping[str, Any]) -> object:
    """The object by which all hooks know a call.

    Raises:
        BadRequestError: It has none: LiteLLM makes it by itself, and tells no other hook of it.
    """
    found = data.get(LOGGING)
    if found is None:
        raise BadRequestError(
            "LiteLLM makes this call by itself, and shows its answer to no hook: it cannot be metered."
        )
    return found


def write_body(fields: Mapping[str, Any]) -> bytes:
    """The body that these fields make; what is no JSON was not sent by a client."""
    return json.dumps(fields, default=lambda _: None).encode()


def changes_of(fields: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    """Fields that were changed or added on the way: limits that were lowered, and the like."""
    allowed: dict[str, Any] = json.loads(body)
    before: dict[str, Any] = json.loads(write_body(fields))
    return {name: value for name, value in allowed.items() if name not in before or before[name] != value}


def event_of(chunk: object) -> bytes:
    """A chunk of a stream as an event: what LiteLLM's clients get of it, and the usage that some of them do not get."""
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, str):
        return chunk.encode()
    return b"data: " + answer_of(chunk) + b"\n\n"


def answer_of(response: object) -> bytes:
    """An answer, or a chunk of one, in JSON. Vectors are left out: nothing of them is counted."""
    dump = getattr(response, "model_dump_json", None)
    if dump is not None:
        return bytes(dump(exclude_none=True, exclude={"data"}).encode())
    return json.dumps(response, default=str).encode()


def is_from_cache(response: object) -> bool:
    """Whether LiteLLM answered out of its cache: then no model ran."""
    hidden = getattr(response, "_hidden_params", None)
    return isinstance(hidden, Mapping) and hidden.get("cache_hit") is True


def _address(data: Mapping[str, Any]) -> str:
    for name in ("litellm_metadata", "metadata"):
        said = data.get(name)
        if isinstance(said, Mapping) and said.get("requester_ip_address"):
            return str(said["requester_ip_address"]).partition(",")[0].strip()
    return ""
