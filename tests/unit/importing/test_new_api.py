"""What of New API's tokens, users and quotas is brought along, and what is not, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pytest

from control_service.domain.input_bounds import AMOUNT_NANOS_MAX
from tallygate.importing.new_api import CHANNELS, KEYS, OPTIONS, USERS, plan_new_api
from tallygate.importing.plan import Plan, Target

NOW_S = 1_795_000_000
KEY = "k" * 48
TARGET = Target({"gpt-4o": "gpt"}, has_dollars=True, counts_spent=False)
USER = {"id": 3, "username": "kim", "status": 1, "quota": 500_000, "used_quota": 250_000}
TOKEN = {
    "id": 7,
    "user_id": 3,
    "key": KEY,
    "status": 1,
    "name": "ci",
    "expired_time": -1,
    "remain_quota": 1_000_000,
    "used_quota": 500_000,
    "unlimited_quota": False,
    "model_limits_enabled": False,
    "model_limits": "",
    "allow_ips": "",
    "group": "",
    "deleted_at": None,
}


def plan(
    *tokens: dict[str, Any], target: Target = TARGET, tables: Mapping[str, list[dict[str, Any]]] | None = None
) -> Plan:
    return plan_new_api(
        {KEYS: [{**TOKEN, **token} for token in tokens], USERS: [USER], **(tables or {})}, target, NOW_S
    )


def test_a_key_is_hashed_as_its_users_show_it() -> None:
    """Its table has no `sk-`, and nothing of the plan that is shown has the key."""
    made = plan({})
    (key,) = made.keys
    assert key.secret_sha256 == sha256(f"sk-{KEY}".encode()).digest()
    assert (key.id, key.display_name, key.team) == ("new-api-7", "ci", "new-api-3")
    assert [(one.id, one.display_name) for one in made.teams] == [("new-api-3", "kim")]
    assert KEY not in str(made)


@pytest.mark.parametrize(("counts", "team", "token"), [(False, (1, 0), (2, 0)), (True, (1.5, 0.5), (3, 1))])
def test_as_much_remains_as_remained(counts: bool, team: tuple[float, float], token: tuple[float, float]) -> None:
    """Of a quota there, a budget of dollars here, whether what was used counts or not."""
    made = plan({}, target=Target({}, has_dollars=True, counts_spent=counts))
    found = [(one.amount_nanos / 1e9, one.spent_nanos / 1e9) for one in made.budgets]
    assert found == [team, token]


def test_a_quota_without_measure_becomes_as_much_as_a_budget_may_be() -> None:
    """Not more, which control would refuse in the middle of an import."""
    made = plan({"remain_quota": 10**17})
    assert [one.amount_nanos for one in made.budgets] == [10**9, AMOUNT_NANOS_MAX]


def test_a_dollar_may_have_another_number_of_units() -> None:
    """As the option says."""
    made = plan({}, tables={OPTIONS: [{"key": "QuotaPerUnit", "value": "1000000"}]})
    assert [one.amount_nanos for one in made.budgets] == [500_000_000, 1_000_000_000]


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"status": 2}, "disabled"),
        ({"expired_time": NOW_S - 1}, "has ended"),
        ({"expired_time": 0}, "has ended"),
        ({"remain_quota": "much"}, "remain_quota is not a number"),
        ({"key": "abcd**********wxyz"}, "masked"),
        ({"user_id": 4}, "its user"),
        ({"model_limits_enabled": True, "model_limits": "gpt-4o, other"}, "not in the catalogue: other"),
        ({"model_limits_enabled": 1, "model_limits": ""}, "it names none"),
        ({"allow_ips": "anywhere"}, "allow_ips is not a list of addresses"),
    ],
)
def test_a_key_that_opens_nothing_there_or_could_open_more_here_is_left_out(cells: dict[str, Any], why: str) -> None:
    """Nobody gets in who was kept out."""
    made = plan(cells)
    assert not made.keys
    assert any(why in one.why for one in made.left_out)


def test_limits_of_models_and_addresses_come_along() -> None:
    """Addresses are networks of one."""
    made = plan({"model_limits_enabled": True, "model_limits": "gpt-4o", "allow_ips": "192.0.2.7\n198.51.100.0/24"})
    assert made.keys[0].models == ("gpt",)
    assert made.keys[0].networks == ("192.0.2.7/32", "198.51.100.0/24")


def test_what_was_deleted_is_not_there_and_what_has_no_place_is_listed() -> None:
    """A channel by its name alone: its key is never read."""
    made = plan(
        {"deleted_at": "2026-01-01"},
        {"unlimited_quota": 1, "group": "vip"},
        tables={CHANNELS: [{"name": "up", "key": "x"}]},
    )
    assert len(made.keys) == 1
    assert [one.what for one in made.left_out] == ["group of token 7 ci", "channel up"]
    assert [one.place for one in made.budgets] == ["teams/new-api-3"]
