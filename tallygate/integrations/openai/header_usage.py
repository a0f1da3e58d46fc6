"""Usage that a server reports in a header, because its answer is no JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from tallygate.client import Usage
from tallygate.integrations.openai.usage import read_usage

METADATA = b"metadata"
"""Header in which vLLM (0.32) has all but the vectors of embeddings with `encoding_format` \"bytes\": a JSON object."""


def usage_in_headers(headers: Iterable[tuple[bytes, bytes]]) -> Usage | None:
    """The usage in an answer's headers, their names in lower case; None where they have none."""
    for name, value in headers:
        if name == METADATA:
            try:
                said = json.loads(value)
            except (ValueError, RecursionError):
                return None
            return read_usage(said.get("usage")) if isinstance(said, Mapping) else None
    return None
