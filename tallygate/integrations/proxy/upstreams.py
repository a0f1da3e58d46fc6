"""Upstreams: the servers that a proxy stands in front of, and which of them has a model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Addresses of all of them: scheme, host, port and the path that their routes begin with, without a last slash.

    `default`: of the one that has all models but those of `by_model`; empty where there is none.
    """

    default: str
    by_model: Mapping[str, str]

    def of(self, body: bytes) -> str:
        """The upstream that has the model which the body of a request names; empty where none has it."""
        return self.by_model.get(model_of(body), self.default) if self.by_model else self.default

    @property
    def first(self) -> str:
        """The one that gets requests without a body, such as lists of models."""
        return self.default or next(iter(self.by_model.values()))


def read_upstreams(texts: Sequence[str]) -> Upstreams:
    """Reads `URL`, and `MODEL=URL` for an upstream that has one model; several in a text with commas or spaces.

    Raises:
        ValueError: There is none, one is no address, or two have the same model, or all of them.
    """
    by_model: dict[str, str] = {}
    for one in (one for text in texts for one in re.split(r"[,\s]+", text) if one):
        model, url = _read(one)
        if model in by_model:
            both = f"{by_model[model]} and {url} both have"
            what = model or "all models that no other has"
            raise ValueError(f"{both} {what}: leave it with one of them, or say MODEL=URL.")
        by_model[model] = url
    if not by_model:
        raise ValueError("No upstream is named: say where the inference server is, such as http://127.0.0.1:8000.")
    return Upstreams(by_model.pop("", ""), by_model)


def model_of(body: bytes) -> str:
    """The model that a body names; empty where it names none."""
    try:
        content: Any = json.loads(body)
    except ValueError:
        return ""
    model = content.get("model") if isinstance(content, dict) else None
    return model if isinstance(model, str) else ""


def _read(text: str) -> tuple[str, str]:
    """The model, or nothing, and the address. An address may have an equals sign in its path, a model no "://"."""
    before, separator, after = text.partition("=")
    model, url = (before, after) if separator and "://" not in before else ("", text)
    if "@" in url:
        # An address is in logs, and so would its password be, which is not repeated here either.
        raise ValueError("An upstream's address has an @; leave user and password out, and name a file of its API key.")
    if not _is_address(url):
        raise ValueError(f"{text!r} is no upstream; write http://HOST:PORT or MODEL=http://HOST:PORT.")
    return model, url.rstrip("/")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query and not parts.fragment
