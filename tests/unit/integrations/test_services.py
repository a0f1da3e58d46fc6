"""Which service a request belongs to, and what the environment may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tallygate.integrations import environment
from tallygate.integrations.services import (
    ServiceMap,
    UnknownKeyError,
    UnknownModelError,
    key_fingerprint,
    load_service_map,
)

TABLE = f"""
[models]
"meta-llama/Llama-3.1-8B" = "llama"
"" = "llama"

[keys]
"sk-acme" = "acme"
"{key_fingerprint("sk-globex")}" = {{ account = "globex", services = {{ llama = "accounts/globex/services/chat" }} }}
"sk-batch" = {{ service = "accounts/acme/services/batch" }}
"" = "public"
"""


def test_a_file_maps_keys_and_models(tmp_path: Path) -> None:
    """By the default rule, by exceptions, and by fingerprints, so that no key has to be in a file."""
    path = tmp_path / "services.toml"
    path.write_text(TABLE)
    find = load_service_map(path)
    assert find("sk-acme", "meta-llama/Llama-3.1-8B") == "accounts/acme/services/default-llama"
    assert find("sk-acme", "qwen-3") == "accounts/acme/services/default-qwen-3"
    assert find("sk-globex", "") == "accounts/globex/services/chat"
    assert find("sk-globex", "qwen-3") == "accounts/globex/services/default-qwen-3"
    assert find("sk-batch", "Whatever/It Is") == "accounts/acme/services/batch"
    assert find("", "llama") == "accounts/public/services/default-llama"
    with pytest.raises(UnknownKeyError):
        find("sk-nobody", "llama")
    for model in ("Not/An-Id", "../x", "{account}", "a" * 64):
        with pytest.raises(UnknownModelError):
            find("sk-acme", model)


def test_one_service_for_all_needs_no_keys() -> None:
    """Whoever asks, with whatever key."""
    assert ServiceMap({"rule": "accounts/acme/services/chat"})("sk-any", "Any/Model") == "accounts/acme/services/chat"
    rule = ServiceMap({"rule": "accounts/acme/services/default-{model}", "models": {"L": "llama"}})
    assert rule("", "L") == "accounts/acme/services/default-llama"


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"rule": "services/chat"},
        {"rule": "accounts/a/services/{team}"},
        {"key": {"sk": "acme"}},
        {"keys": {"sk": 7}},
        {"keys": {"sk": {}}},
        {"keys": {"sk": {"acount": "acme"}}},
        {"keys": {"sk": {"services": {"llama": "accounts/a/services/b"}}}},
        {"keys": {"sk": {"service": "chat"}}},
    ],
)
def test_a_map_that_makes_no_sense_is_refused(table: dict[str, Any]) -> None:
    """When the server starts, and not when the first request comes."""
    with pytest.raises(ValueError, match=r".+"):
        ServiceMap(table)


@pytest.mark.parametrize(("name", "text"), [("x.toml", "keys = 1"), ("x.json", "{"), ("x.json", "[]"), ("x.toml", "=")])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, text: str) -> None:
    """The message says which file."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=name):
        load_service_map(tmp_path / name)


def test_without_a_table_the_key_leads_to_the_service() -> None:
    """Which one it is the metering node says; what it would not take for a key or a model is refused here."""
    find = environment.services_from({})
    assert find("sk-any", "llama") == find("sk-any", "") == ""
    with pytest.raises(UnknownKeyError):
        find("", "llama")
    for model in ("x" * 257, "\0", "\ud800"):
        with pytest.raises(UnknownModelError):
            find("sk-any", model)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({environment.SERVICE: "accounts/a/services/b", environment.SERVICES: "x"}, environment.SERVICES),
        ({environment.SERVICE: "b"}, environment.SERVICE),
        ({environment.SERVICES: "/nowhere.toml"}, "nowhere"),
    ],
)
def test_the_environment_must_not_say_twice_whose_requests_they_are(variables: dict[str, str], named: str) -> None:
    """And a mistake is told by the variable's name."""
    with pytest.raises(ValueError, match=named):
        environment.services_from(variables)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, environment.ADDRESSES),
        ({environment.ADDRESSES: " , "}, environment.ADDRESSES),
        ({environment.ADDRESSES: "h:1", environment.ON_UNREACHABLE: "maybe"}, environment.ON_UNREACHABLE),
        ({environment.ADDRESSES: "h:1", environment.ANSWER_MS: "0"}, environment.ANSWER_MS),
    ],
)
def test_the_environment_must_say_where_nodes_are(variables: dict[str, str], named: str) -> None:
    """As above."""
    with pytest.raises(ValueError, match=named):
        environment.client_from(variables)


def test_the_environment_has_defaults() -> None:
    """Addresses are all that a client needs."""
    environment.client_from({environment.ADDRESSES: "127.0.0.1:7402"})
    allowing = {environment.ADDRESSES: "a:1,b:2", environment.ON_UNREACHABLE: "allow", environment.ANSWER_MS: "250"}
    environment.client_from(allowing)
    assert environment.body_bytes_max_from({}) == 32 << 20
    assert environment.body_bytes_max_from({environment.BODY_BYTES_MAX: "100"}) == 100
