"""Encodings of a request's body: JSON, or a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from tallygate.integrations.openai.request_json import changed_body, parse_body
from tallygate.integrations.openai.vertex import PARAMETERS, unwrapped

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Encoding(Protocol):
    """Reads a body, and writes it with some of its fields changed."""

    def read(self, raw: bytes) -> tuple[dict[str, Any], bytes]:
        """The fields of a body, and the body as it is passed on.

        Raises:
            BadRequestError: It cannot be read, or readers could differ about it.
        """
        ...

    def change(self, raw: bytes, content: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:
        """The body with some of its fields changed or added; the client's own bytes as far as that is possible.

        Args:
            raw: A body that `read` has taken.
            content: Its fields.
            changes: Of these, those that change.
        """
        ...


class _Json:
    """A JSON object in UTF-8."""

    def read(self, raw: bytes) -> tuple[dict[str, Any], bytes]:
        body = raw.removeprefix(_BYTE_ORDER_MARK)
        return parse_body(body), body

    def change(self, raw: bytes, content: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:
        return changed_body(raw, content, changes)


class _Vertex(_Json):
    """The same for Vertex AI, whose JSON stands for another one: what is read is that, and what changes is in there."""

    def read(self, raw: bytes) -> tuple[dict[str, Any], bytes]:
        whole, body = super().read(raw)
        return unwrapped(whole), body

    def change(self, raw: bytes, content: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:  # noqa: ARG002  # it is not what stands there
        if not changes:
            return raw
        whole = parse_body(raw)
        return super().change(raw, whole, {PARAMETERS: {**(whole.get(PARAMETERS) or {}), **changes}})


JSON: Final[Encoding] = _Json()
VERTEX: Final[Encoding] = _Vertex()
