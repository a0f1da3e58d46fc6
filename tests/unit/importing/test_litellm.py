"""What of LiteLLM's teams, keys and budgets is brought along, and what is not, with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest

from tallygate.importing.litellm import BUDGETS, KEYS, ORGANISATIONS, TEAMS, USERS, plan_litellm
from tallygate.importing.plan import Metric, Period, Plan, Target

NOW_S = 1_795_000_000
SECRET = "sk-an-old-secret-that-users-know-by-heart"
HASH = sha256(SECRET.encode()).hexdigest()
TARGET = Target({"gpt-4o": "gpt", "llama": "llama"}, has_dollars=True, counts_spent=False)


def plan(
    *keys: dict[str, Any], target: Target = TARGET, tables: Mapping[str, list[dict[str, Any]]] | None = None
) -> Plan:
    rows = [{"token": HASH, "key_alias": "ci", **key} for key in keys]
    return plan_litellm({KEYS: rows, **(tables or {})}, target, NOW_S)


def test_a_key_keeps_its_secret_by_its_hash_and_its_name() -> None:
    """As LiteLLM's database has it: users see no difference."""
    (key,) = plan({}).keys
    assert key.secret_sha256 == sha256(SECRET.encode()).digest()
    assert key.id == f"litellm-{HASH[:16]}"
    assert key.display_name == "ci"
    assert key.models == ()


def test_plans_follow_from_their_tables_alone() -> None:
    """A repeat has the same names, by which it finds what is there."""
    assert plan({"max_budget": 1.0}) == plan({"max_budget": 1.0})


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"blocked": True}, "blocked"),
        ({"blocked": "t"}, "blocked"),
        ({"token": SECRET}, "no SHA-256"),
        ({"expires": datetime.fromtimestamp(NOW_S - 1, UTC)}, "has ended"),
        ({"expires": "2020-01-01 00:00:00"}, "has ended"),
        ({"models": ["gpt-4o", "claude"]}, "not in the catalogue: claude"),
        ({"models": '{gpt-4o,"a, b"}'}, "not in the catalogue: a, b"),
        ({"models": ["no-default-models"]}, "no model"),
        ({"team_id": "closed"}, "its team is left out, or not there"),
        ({"team_id": "torn"}, "its team is left out, or not there"),
        ({"team_id": "unheard-of"}, "its team is left out, or not there"),
        ({"team_id": "narrow", "models": ["llama"]}, "none of its own is one of its team's"),
        ({"expires": "soon"}, "expires is not a moment"),
        ({"expires": "1970-01-01 00:00:00"}, "has ended"),
        ({"rpm_limit": 0}, "has rpm_limit 0"),
        ({"budget_id": "none-at-once"}, "has max_parallel_requests 0"),
        ({"rpm_limit": 5, "max_budget": "much"}, "max_budget is not a number"),
        ({"metadata": {"model_rpm_limit": {"llama": 0}}}, "has 0 requests a minute for llama"),
        ({"metadata": '{"model_tpm_limit": {"llama": "few"}}'}, "llama is not a number"),
        ({"rpm_limit": 5, "metadata": "{"}, "metadata is not an object"),
    ],
)
def test_a_key_that_opens_nothing_there_or_could_open_more_here_is_left_out(cells: dict[str, Any], why: str) -> None:
    """Nobody gets in who was kept out."""
    teams: list[dict[str, Any]] = [
        {"team_id": "closed", "blocked": True},
        {"team_id": "torn", "tpm_limit": "many"},
        {"team_id": "narrow", "models": ["gpt-4o"]},
    ]
    shut = {"budget_id": "none-at-once", "max_parallel_requests": 0}
    made = plan(cells, tables={TEAMS: teams, BUDGETS: [shut]})
    assert (made.keys, made.rules, made.budgets) == ([], [], [])
    assert any(why in one.why for one in made.left_out)
    assert SECRET not in str(made)


def test_models_are_the_keys_own_or_its_teams() -> None:
    """By the names that the catalogue knows; of what a key names, it opens what its team may use as well."""
    team = {"team_id": "t-1", "team_alias": "Search", "models": ["gpt-4o"]}
    made = plan(
        {"team_id": "t-1"},
        {"team_id": "t-1", "models": ["all-team-models"]},
        {"team_id": "t-1", "models": ["all-proxy-models"]},
        {"team_id": "t-1", "models": ["llama", "gpt-4o"]},
        {"models": ["llama", "gpt-4o"]},
        tables={TEAMS: [team]},
    )
    assert [key.models for key in made.keys] == [("gpt",), ("gpt",), ("gpt",), ("gpt",), ("llama", "gpt")]
    assert [key.team for key in made.keys] == ["litellm-t-1"] * 4 + [""]
    assert [(one.id, one.display_name) for one in made.teams] == [("litellm-t-1", "Search")]


def test_a_limit_beyond_all_limits_is_the_greatest() -> None:
    """Gateways write such for none; a rule has a bound."""
    (rule,) = plan({"tpm_limit": 2**63 - 1}).rules
    assert rule.limit_units == 10**11


def test_limits_of_single_models_are_rules_of_these() -> None:
    """Out of the metadata, and else beside budgets for single models; of two names of one model the least holds."""
    target = Target({"gpt-4o": "gpt", "gpt-4o-2024": "gpt", "llama": "llama"}, has_dollars=True, counts_spent=False)
    limits = {"model_rpm_limit": {"gpt-4o": 9, "gpt-4o-2024": 7, "claude": 0}, "team_member_budget_id": "b"}
    beside = {"llama": {"budget_limit": 5.0, "rpm_limit": 3, "tpm_limit": 1000}, "gpt-4o": 2.5}
    team = {"team_id": "t-1", "metadata": json.dumps(limits)}
    made = plan(
        {"metadata": {"model_rpm_limit": {"llama": 5}}, "model_max_budget": beside},
        target=target,
        tables={TEAMS: [team]},
    )
    found = {(one.place.split("/")[0], one.metric, one.model, one.limit_units) for one in made.rules}
    assert found == {
        ("teams", Metric.REQUESTS, "gpt", 7),
        ("keys", Metric.REQUESTS, "llama", 5),
        ("keys", Metric.TOKENS, "llama", 1000),
    }
    assert len({rule.id for rule in made.rules}) == 3
    assert [one.what for one in made.left_out] == [
        "requests a minute of team t-1 for claude",
        "team_member_budget_id of team t-1",
        "model_max_budget of key ci",
    ]


def test_sessions_of_its_own_pages_are_no_keys() -> None:
    """They are left out without a line: there is one for each sign-in."""
    made = plan({"team_id": "litellm-dashboard"})
    assert not made.keys
    assert not made.left_out


@pytest.mark.parametrize(
    ("length", "period"),
    [(None, Period.IN_ALL), ("1d", Period.DAY), ("7d", Period.WEEK), ("30d", Period.MONTH), ("1mo", Period.MONTH)],
)
def test_budgets_begin_anew_when_they_did(length: str | None, period: Period) -> None:
    """To the nano, of an amount as it is written; what was spent does not count."""
    (budget,) = plan({"max_budget": "0.1", "budget_duration": length, "spend": 0.05}).budgets
    assert (budget.amount_nanos, budget.period, budget.spent_nanos) == (100_000_000, period, 0)
    assert budget.place == f"keys/litellm-{HASH[:16]}"


def test_what_was_spent_counts_where_that_is_asked_for() -> None:
    """Then no more is left than was left there."""
    target = Target({}, has_dollars=True, counts_spent=True)
    (budget,) = plan({"max_budget": 10.0, "spend": 2.5}, target=target).budgets
    assert (budget.amount_nanos, budget.spent_nanos) == (10_000_000_000, 2_500_000_000)


def test_a_budget_may_stand_in_a_row_of_its_own() -> None:
    """The key's own limits come first."""
    table = {"budget_id": "b-1", "max_budget": 3.0, "budget_duration": "1d", "rpm_limit": 5, "tpm_limit": 7}
    made = plan({"budget_id": "b-1", "rpm_limit": 2}, tables={BUDGETS: [table]})
    assert [one.amount_nanos for one in made.budgets] == [3_000_000_000]
    assert [(one.metric, one.limit_units) for one in made.rules] == [(Metric.REQUESTS, 2), (Metric.TOKENS, 7)]


def test_what_cannot_be_said_here_is_listed() -> None:
    """Line by line, with why; what is empty is nothing."""
    made = plan(
        {"max_budget": 1, "budget_duration": "12h", "aliases": {"a": "b"}, "permissions": "{}"},
        tables={
            USERS: [{"user_id": "u", "max_budget": 5.0}, {"user_id": "v"}],
            ORGANISATIONS: [{"organization_id": "o"}],
        },
    )
    assert [one.what for one in made.left_out] == [
        "aliases of key ci",
        "budget of key ci",
        "budget of user u",
        "organization o",
    ]
    assert len(made.keys) == 1


def test_dollars_are_no_other_currency() -> None:
    """An account in another one gets its keys, and no budgets."""
    made = plan({"max_budget": 1.0}, target=Target({}, has_dollars=False, counts_spent=False))
    assert made.keys
    assert not made.budgets
    assert "US dollars" in made.left_out[0].why


def test_ids_are_unique_where_letters_are_lost() -> None:
    """Two teams whose ids differ in signs alone stay two."""
    made = plan(tables={TEAMS: [{"team_id": "A b"}, {"team_id": "a-b"}, {"team_id": "x" * 80}, {"team_id": "x" * 81}]})
    assert len({one.id for one in made.teams}) == 4
    assert all(len(one.id) <= 63 for one in made.teams)
