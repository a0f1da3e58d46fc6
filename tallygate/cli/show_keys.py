"""API keys as people see them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from tallygate.cli.console import facts, literal
from tallygate.cli.show import time_text
from tallygate.cli.show_access import table
from tallygate.control.v1 import api_key_config_pb2, api_key_pb2


def key_facts(key: api_key_pb2.ApiKey) -> Table:
    """One key, without its secret."""
    return facts(
        ("key", literal(key.name, "bold")),
        ("uid", key.uid),
        ("name", key.display_name),
        ("team", key.team),
        ("owner", key.owner),
        ("state", state_text(key)),
        ("until", _until(key)),
        ("services", _some(key.scope.services, all_of_them=key.scope.all_services)),
        ("models", _some(key.scope.models, all_of_them=key.scope.all_models)),
        ("routes", "\n".join(f"{route.model} by {route.service}" for route in key.routes.routes)),
        ("networks", ", ".join(key.networks.networks) or "any"),
        ("secret", f"sk-{key.secret_id}-..." if key.secret_id else "brought along"),
        (
            "secret before until",
            time_text(key.previous_secret_expire_time) if key.HasField("previous_secret_expire_time") else "",
        ),
        ("deleted", time_text(key.delete_time) if key.HasField("delete_time") else ""),
    )


def key_table(keys: Iterable[api_key_pb2.ApiKey]) -> Table:
    """Many keys."""
    return table(
        ("key", "name", "team", "state", "until", "services", "models"),
        (
            (
                key.name,
                key.display_name,
                key.team,
                state_text(key),
                _until(key),
                _count(key.scope.services, all_of_them=key.scope.all_services),
                _count(key.scope.models, all_of_them=key.scope.all_models),
            )
            for key in keys
        ),
    )


def state_text(key: api_key_pb2.ApiKey) -> str:
    """Whether a key opens anything, and what closes it."""
    if key.HasField("delete_time"):
        return "deleted"
    if key.disabled:
        return "disabled"
    if key.state == api_key_config_pb2.API_KEY_STATE_REVOKED:
        return "owner has left"
    return api_key_config_pb2.ApiKeyState.Name(key.state).removeprefix("API_KEY_STATE_").lower()


def _until(key: api_key_pb2.ApiKey) -> str:
    if not key.HasField("expire_time"):
        return "for ever"
    return time_text(key.expire_time) + (", temporary" if key.temporary else "")


def _some(names: Iterable[str], *, all_of_them: bool) -> str:
    return "all" if all_of_them else "\n".join(names)


def _count(names: Iterable[str], *, all_of_them: bool) -> str:
    return "all" if all_of_them else f"{len(list(names)):,}"
