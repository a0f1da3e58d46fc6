"""The service that a request is metered against, found by its API key and its model."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tallygate._wire.names import MODEL_ID

ServiceResolver = Callable[[str, str], "str | Awaitable[str]"]
"""Resolver from an API key and a model to `accounts/{account}/services/{service}`, perhaps by a call; an empty text
leaves it to the key. Raises UnknownKeyError or UnknownModelError."""

MODEL_BYTES_MAX = 256
"""Maximum length of a model's name that a node takes."""

DEFAULT_RULE = "accounts/{account}/services/default-{model}"

_MODEL_ID = re.compile(MODEL_ID)
_SERVICE = re.compile(r"accounts/[^/{}]+/services/[^/{}]+")
_TABLES = {"rule", "keys", "models"}
_ENTRY = {"account", "service", "services"}


def by_key(api_key: str, model: str) -> str:
    """Leaves it to the metering node, which knows all keys, to which service a key and a model lead: no service.

    Raises:
        UnknownKeyError: There is no key.
        UnknownModelError: It is no text that can be a model's name.
    """
    if not api_key:
        raise UnknownKeyError
    try:
        is_name = "\0" not in model and len(model.encode()) <= MODEL_BYTES_MAX
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        raise UnknownModelError(model)
    return ""


class UnknownKeyError(Exception):
    """The API key belongs to no account."""


class UnknownModelError(Exception):
    """There is no service for the model."""


class HashedKey(str):
    """An API key of which only the hash is known, in hexadecimal, as gateways have it that keep no keys.

    No client can show one: what a client shows is a plain text, and is hashed.
    """

    __slots__ = ()


def key_sha256(api_key: str) -> bytes:
    """What is sent of an API key; empty for none."""
    if isinstance(api_key, HashedKey):
        return bytes.fromhex(api_key)
    return hashlib.sha256(api_key.encode("utf-8", "surrogateescape")).digest() if api_key else b""


def key_fingerprint(api_key: str) -> str:
    """An API key as it is written in a file: recognisable, and of no use to who reads it."""
    return f"sha256:{key_sha256(api_key).hex()}" if api_key else ""


class ServiceMap:
    """Resolves by a table, such as this one in TOML:

    rule = "accounts/{account}/services/default-{model}"    # the default, may be left out

    [models]                                    # names that clients use -> ids of models
    "meta-llama/Llama-3.1-8B-Instruct" = "llama"
    "" = "llama"                                # for requests that name none

    [keys]                                      # API keys, or their fingerprints -> accounts
    "sk-acme" = "acme"
    "sha256:2c26b46b68ffc68f..." = { account = "acme", services = { llama = "accounts/acme/services/chat-prod" } }
    "sk-batch" = { service = "accounts/acme/services/batch" }   # whatever the model
    "" = "public"                               # for requests without a key
    """  # noqa: D415  # ends with its example

    def __init__(self, table: Mapping[str, Any]) -> None:
        unknown = set(table) - _TABLES
        if unknown:
            raise ValueError(f"a service map has rule, keys and models, not {', '.join(sorted(unknown))}")
        self._rule = str(table.get("rule", DEFAULT_RULE))
        if not _SERVICE.fullmatch(_fill(self._rule, "account", "model")):
            raise ValueError(f"the rule {self._rule} makes no accounts/ACCOUNT/services/SERVICE")
        self._models = {str(name): str(model) for name, model in dict(table.get("models", {})).items()}
        self._keys = {_as_fingerprint(str(key)): _entry(value) for key, value in dict(table.get("keys", {})).items()}
        if not self._keys and "{account}" in self._rule:
            raise ValueError("a service map without keys needs a rule without {account}")

    def __call__(self, api_key: str, model: str) -> str:
        """The service of a request.

        Raises:
            UnknownKeyError: The key is not in the table.
            UnknownModelError: The model is neither in the table nor an id.
        """
        entry: Mapping[str, Any] = {}
        if self._keys:
            found = self._keys.get(key_fingerprint(api_key))
            if found is None:
                raise UnknownKeyError
            entry = found
        if "service" in entry:
            return str(entry["service"])
        model_id = self._models.get(model, model)
        special = entry.get("services", {}).get(model_id)
        if special is not None:
            return str(special)
        if "{model}" in self._rule and not _MODEL_ID.fullmatch(model_id):
            raise UnknownModelError(model)
        return _fill(self._rule, str(entry.get("account", "")), model_id)

    def known_services(self) -> list[str]:
        """All services that are named, or follow from the keys and models that are; in order, each once."""
        models = sorted(set(self._models.values()))
        names: set[str] = set()
        for entry in self._keys.values() or [{}]:
            special = entry.get("services", {})
            if "service" in entry:
                names.add(str(entry["service"]))
                continue
            names.update(str(name) for name in special.values())
            for model in models if "{model}" in self._rule else [""]:
                if model not in special:
                    names.add(_fill(self._rule, str(entry.get("account", "")), model))
        return sorted(names)


def load_service_map(path: Path) -> ServiceMap:
    """Reads a service map from a file, JSON or TOML by its name.

    Raises:
        ValueError: It is no such file, or not written as it should be.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        if not isinstance(table, Mapping):
            raise ValueError("it is not a table")  # noqa: TRY004, TRY301  # one kind of error, told once
        return ServiceMap(table)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"the service map {path} cannot be used: {error}") from error


def service_resolver(services: str | Mapping[str, Any] | ServiceResolver) -> ServiceResolver:
    """A resolver from one service or rule for all requests, a table as of ServiceMap, or a resolver."""
    if isinstance(services, str):
        return ServiceMap({"rule": services})
    return ServiceMap(services) if isinstance(services, Mapping) else services


def _fill(rule: str, account: str, model: str) -> str:
    return rule.replace("{account}", account).replace("{model}", model)


def _as_fingerprint(key: str) -> str:
    return key.lower() if key.startswith("sha256:") else key_fingerprint(key)


def _entry(value: object) -> Mapping[str, Any]:
    entry = {"account": value} if isinstance(value, str) else value
    if not isinstance(entry, Mapping) or not entry or set(entry) - _ENTRY:
        raise ValueError("a key belongs to an account, or to a table with account, service or services")
    services = [*entry.get("services", {}).values(), *([entry["service"]] if "service" in entry else [])]
    for service in services:
        if not _SERVICE.fullmatch(str(service)):
            raise ValueError(f"{service} is not accounts/ACCOUNT/services/SERVICE")
    if "service" not in entry and not entry.get("account"):
        raise ValueError("a key needs an account, unless it has one service")
    return entry
