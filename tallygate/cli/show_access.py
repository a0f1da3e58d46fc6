"""Callers, roles and tokens as people see them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from tallygate.access.v1 import role_pb2
from tallygate.cli.console import facts, literal
from tallygate.cli.show import time_text
from tallygate.control.v1 import (
    access_service_pb2,
    access_token_pb2,
    binding_pb2,
    principal_pb2,
    service_account_pb2,
    team_pb2,
)


def role_text(role: role_pb2.Role.ValueType) -> str:
    """A role as people type it: `team-admin`."""
    return role_pb2.Role.Name(role).removeprefix("ROLE_").replace("_", "-").lower()


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table of texts, each taken literally."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        # A name that is cut short cannot be copied into the next command.
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*map(literal, row))
    return made


def caller_facts(caller: access_service_pb2.WhoAmIResponse) -> Table:
    """Who calls, and what that caller may do."""
    rights = [
        f"{role_text(right.role)} on {right.scope}"
        + (f" for nodes {', '.join(right.node_names)}" if right.node_names else "")
        + (f", no more than {role_text(right.narrowed_role)}" if right.narrowed_role else "")
        for right in caller.rights
    ]
    return facts(
        ("who", literal(caller.member or "anybody: this server asks for no proof", "bold")),
        ("name", caller.display_name),
        ("token", caller.access_token),
        ("until", time_text(caller.expire_time) if caller.HasField("expire_time") else ""),
        ("groups", "\n".join(caller.groups)),
        ("may be", "\n".join(rights) or "nothing yet: nobody has given a role"),
    )


def binding_table(bindings: Iterable[binding_pb2.Binding]) -> Table:
    """Many bindings."""
    return table(
        ("scope", "role", "member", "nodes", "binding"),
        ((one.scope, role_text(one.role), one.member, ", ".join(one.node_names), one.name) for one in bindings),
    )


def token_facts(token: access_token_pb2.AccessToken) -> Table:
    """One token, without its secret."""
    narrowed = " on ".join(
        filter(None, (role_text(token.narrowed_role) if token.narrowed_role else "", token.narrowed_scope))
    )
    previous = token.previous_secret_expire_time
    return facts(
        ("token", literal(token.name, "bold")),
        ("owner", token.owner),
        ("name", token.display_name),
        ("no more than", narrowed),
        ("state", token_state(token)),
        ("until", _until(token)),
        ("last used", _day(token)),
        ("secret before until", time_text(previous) if token.HasField("previous_secret_expire_time") else ""),
    )


def token_table(tokens: Iterable[access_token_pb2.AccessToken]) -> Table:
    """Many tokens."""
    return table(
        ("token", "name", "state", "until", "last used"),
        ((one.name, one.display_name, token_state(one), _until(one), _day(one) or "never") for one in tokens),
    )


def token_state(token: access_token_pb2.AccessToken) -> str:
    """Whether a token is disabled, given for a sign-in, or just there."""
    return "disabled" if token.disabled else "signed in" if token.signed_in else "enabled"


def service_account_table(accounts: Iterable[service_account_pb2.ServiceAccount]) -> Table:
    """Many service accounts."""
    return table(
        ("service account", "name", "state", "made by"),
        ((one.name, one.display_name, "disabled" if one.disabled else "enabled", one.creator) for one in accounts),
    )


def team_table(teams: Iterable[team_pb2.Team]) -> Table:
    """Many teams."""
    return table(
        ("team", "name", "created", "deleted"),
        (
            (
                one.name,
                one.display_name,
                time_text(one.create_time),
                time_text(one.delete_time) if one.HasField("delete_time") else "",
            )
            for one in teams
        ),
    )


def principal_table(principals: Iterable[principal_pb2.Principal]) -> Table:
    """Many principals."""
    return table(
        ("who", "name", "state", "last sign-in"),
        (
            (
                one.member,
                one.display_name,
                "disabled" if one.disabled else "enabled",
                time_text(one.last_sign_in_time) if one.HasField("last_sign_in_time") else "never",
            )
            for one in principals
        ),
    )


def _until(token: access_token_pb2.AccessToken) -> str:
    return time_text(token.expire_time) if token.HasField("expire_time") else "for ever"


def _day(token: access_token_pb2.AccessToken) -> str:
    return time_text(token.last_use_time)[:10] if token.HasField("last_use_time") else ""
