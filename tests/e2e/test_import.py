"""`tallygate import` as a person runs it: shown first, made once, and users go on with the keys that they have."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
import typer

from tallygate.cli.import_steps import Made, make
from tallygate.cli.rpc import control_channel
from tallygate.client import Denied, MeteringClient
from tallygate.control.v1.limit_service_pb2 import CreateRateRuleRequest
from tallygate.importing.litellm import KEYS, TEAMS, plan_litellm
from tallygate.importing.plan import Target
from tests.harness.client.patient import PATIENT
from tests.harness.patience import until_found
from tests.harness.postgres import fresh_database
from tests.harness.programs.command import Up, up

SECRET = "sk-a-key-of-litellm-that-users-have-had-for-years"
HASH = sha256(SECRET.encode()).hexdigest()
TABLES = """
CREATE TABLE "LiteLLM_TeamTable" (team_id text, team_alias text, models text[], max_budget float8, budget_duration text,
    spend float8, tpm_limit bigint, blocked boolean, metadata jsonb);
CREATE TABLE "LiteLLM_VerificationToken" (token text, key_alias text, team_id text, models text[], expires timestamp,
    max_budget float8, budget_duration text, spend float8, rpm_limit bigint, blocked boolean, aliases jsonb);
INSERT INTO "LiteLLM_TeamTable" VALUES ('0b7c', 'Search', '{}', 100, '30d', 12.5, 100000, false, '{}');
INSERT INTO "LiteLLM_VerificationToken" VALUES
    ('HASH', 'ci', '0b7c', '{llama}', '2999-01-01', 0.3, '1d', 0.1, 60, null, '{}'),
    (repeat('a', 64), 'old', null, '{}', '2020-01-01', null, null, 0, null, null, '{}'),
    (repeat('b', 64), 'shut', null, '{}', null, null, null, 0, null, true, '{}');
"""
NEW_API = """
CREATE TABLE users (id INTEGER, username TEXT, status INTEGER, quota INTEGER, used_quota INTEGER);
CREATE TABLE tokens (id INTEGER, user_id INTEGER, key TEXT, status INTEGER, name TEXT, expired_time INTEGER,
    remain_quota INTEGER, unlimited_quota NUMERIC, used_quota INTEGER, "group" TEXT, deleted_at DATETIME);
CREATE TABLE channels (id INTEGER, name TEXT, key TEXT);
INSERT INTO users VALUES (1, 'kim', 1, 500000, 0);
INSERT INTO tokens VALUES (1, 1, 'KEY', 1, 'ci', -1, 250000, 0, 0, '', NULL);
INSERT INTO channels VALUES (1, 'upstream', 'sk-upstream');
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Both services, and two accounts in them."""
    with up(tmp_path_factory.mktemp("data")) as running:
        for command in (("model", "create", "llama"), ("account", "create", "acme"), ("account", "create", "other")):
            said = running.tallygate(*command)
            assert said.status == 0, said.err
        yield running


async def authorise(address: str, secret: str) -> str:
    """The reason for which a node refuses a key."""
    digest = sha256(secret.encode()).digest()
    async with MeteringClient([address], settings=PATIENT) as client:
        with pytest.raises(Denied) as denied:
            await client.request("", input_tokens=1, credential_sha256=digest, model="llama").authorize()
    return denied.value.reason


def wait_for(running: Up, secret: str, reason: str) -> None:
    """Waits until a node has heard of a change of a key."""

    async def has_heard() -> bool:
        return await authorise(running.metering, secret) == reason

    asyncio.run(until_found(has_heard))


def share(running: Up, account: str) -> None:
    """Lets keys of all teams use the account's service, as the command says."""
    said = running.tallygate("service", "update", f"{account}/default-llama", "--shared")
    assert said.status == 0, said.err


def test_a_database_of_litellms_is_brought_along_once(running: Up, postgres_url: str) -> None:
    """Nothing is made before it is asked for; a repeat makes nothing; the old key is known."""

    async def bring_along() -> None:
        async with fresh_database(postgres_url) as url:
            connection = await asyncpg.connect(url)
            await connection.execute(TABLES.replace("HASH", HASH))
            await connection.close()
            prismas = f"{url}{'&' if '?' in url else '?'}schema=public&connection_limit=3"
            await asyncio.to_thread(check, prismas)

    def check(url: str) -> None:
        shown = running.tallygate("import", "litellm", "acme", url)
        assert shown.status == 0, shown.err
        assert "Nothing was made" in shown.err
        assert HASH not in shown.out
        for line in ("key old", "has ended", "key shut", "blocked there"):
            assert line in shown.out
        assert running.tallygate("key", "list", "acme", "--json").json.get("keys", []) == []
        made = running.tallygate("import", "litellm", "acme", url, "--apply", "--count-spent", "--json").json
        assert (made["made"], made["there_already"], len(made["left_out"])) == (6, 0, 2)
        again = running.tallygate("import", "litellm", "acme", url, "--apply", "--json").json
        assert (again["made"], again["there_already"]) == (0, 6)

    asyncio.run(bring_along())
    (key,) = running.tallygate("key", "list", "acme", "--json").json["keys"]
    assert (key["display_name"], key["team"], key["scope"]["models"]) == ("ci", "litellm-0b7c", ["models/llama"])
    budgets = running.tallygate("budget", "list", "acme", "--json").json["budgets"]
    assert sorted((one["amount_units"], one["initial_spent_units"], one["period"]) for one in budgets) == [
        ("100000000000", "12500000000", "CALENDAR_PERIOD_MONTH"),
        ("300000000", "100000000", "CALENDAR_PERIOD_DAY"),
    ]
    rules = running.tallygate("rule", "list", "acme", "--json").json["rate_rules"]
    assert sorted((one["metric"], one["limit_units"]) for one in rules) == [
        ("RATE_METRIC_REQUESTS", "60"),
        ("RATE_METRIC_TOTAL_TOKENS", "100000"),
    ]
    share(running, "acme")
    wait_for(running, SECRET, "NOT_ENABLED")
    wait_for(running, "sk-another", "CREDENTIAL_INVALID")


class Cut(grpc.UnaryUnaryClientInterceptor):
    """Control goes away before the first limit of a key."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        if isinstance(request, CreateRateRuleRequest):
            raise ConnectionError(client_call_details.method)
        return continuation(client_call_details, request)


def test_a_key_opens_nothing_before_its_limits_stand(running: Up) -> None:
    """Where control goes away in between, until a repeat; what somebody has disabled since then stays so."""
    secret, limits = "sk-a-key-that-has-limits-for-single-models", {"model_rpm_limit": {"llama": 3}}
    row = {"token": sha256(secret.encode()).hexdigest(), "rpm_limit": 5, "metadata": limits}
    target = Target({"llama": "llama"}, has_dollars=True, counts_spent=False)
    plan = plan_litellm({KEYS: [row, {"token": "ab" * 32}]}, target, 0)
    with control_channel(running.control) as channel:
        with pytest.raises(ConnectionError):
            make(grpc.intercept_channel(channel, Cut()), "accounts/other", plan)
        wait_for(running, secret, "CREDENTIAL_INVALID")
        assert make(channel, "accounts/other", plan) == Made(new=2, there=2)
        wait_for(running, secret, "NOT_ENABLED")
        rules = running.tallygate("rule", "list", "other", "--json").json["rate_rules"]
        assert {(rule["limit_units"], rule.get("model", "")) for rule in rules} == {("5", ""), ("3", "models/llama")}
        disabled = running.tallygate("key", "disable", f"other/{plan.keys[0].id}")
        assert disabled.status == 0, disabled.err
        make(channel, "accounts/other", plan)
        wait_for(running, secret, "CREDENTIAL_INVALID")


def test_a_file_of_new_apis_is_brought_along(running: Up, tmp_path: Path) -> None:
    """Keys come in clear there, and nothing that is shown has them."""
    path, key = tmp_path / "one-api.db", "q" * 48
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(NEW_API.replace("KEY", key))
    said = running.tallygate("import", "new-api", "other", str(path), "--apply")
    assert said.status == 0, said.err
    assert "4 were made" in said.err
    assert key not in said.out + said.err
    assert "sk-upstream" not in said.out
    assert "--shared" in said.err
    share(running, "other")
    # The node may know the service as it was before.
    wait_for(running, f"sk-{key}", "NOT_ENABLED")


def test_more_limits_than_there_may_be_are_said_before_there_are_keys(running: Up, tmp_path: Path) -> None:
    """Keys without the limits that they had would open more than they did."""
    rows = [{"token": f"{number:064x}", "rpm_limit": 5, "tpm_limit": 7} for number in range(501)]
    (tmp_path / "LiteLLM_VerificationToken.json").write_text(json.dumps(rows))
    before = running.tallygate("key", "list", "other", "--json").json
    said = running.tallygate("import", "litellm", "other", str(tmp_path), "--apply")
    assert said.status == 1
    assert "nothing was made" in said.err
    assert running.tallygate("key", "list", "other", "--json").json == before


def test_more_limits_than_a_key_may_have_are_said_before_there_are_keys(running: Up) -> None:
    """Gateways have limits for each model of a key, and of these there may be many."""
    models = [f"model-{number}" for number in range(101)]
    row = {"token": "cd" * 32, "metadata": {"model_rpm_limit": dict.fromkeys(models, 3)}}
    target = Target({name: name for name in models}, has_dollars=True, counts_spent=False)
    plan = plan_litellm({KEYS: [row]}, target, 0)
    with control_channel(running.control) as channel, pytest.raises(typer.Exit):
        make(channel, "accounts/other", plan)
    assert running.tallygate("key", "show", f"other/{plan.keys[0].id}").status != 0


def test_what_was_deleted_here_stays_deleted(running: Up) -> None:
    """With its limits; a repeat goes on with all else, but for keys of teams that are gone."""
    tokens = [one * 32 for one in ("e1", "e2", "e3", "e4")]
    rows = [
        {"token": token, "rpm_limit": 5} | ({"team_id": "gone"} if at % 2 else {}) for at, token in enumerate(tokens)
    ]
    teams, target = [{"team_id": "gone", "rpm_limit": 9}], Target({}, has_dollars=True, counts_spent=False)
    first, second = (plan_litellm({KEYS: some, TEAMS: teams}, target, 0) for some in (rows[:2], rows))
    with control_channel(running.control) as channel:
        assert make(channel, "accounts/other", first).new == 6
        for deleted in (*(f"key delete other/{key.id}" for key in first.keys), "team delete other/litellm-gone"):
            said = running.tallygate(*deleted.split())
            assert said.status == 0, said.err
        assert make(channel, "accounts/other", second) == Made(new=2, there=7)
    keys = {key["name"]: key for key in running.tallygate("key", "list", "other", "--json").json["keys"]}
    assert not keys[f"accounts/other/keys/{second.keys[2].id}"].get("disabled", False)
    assert f"accounts/other/keys/{second.keys[3].id}" not in keys


def test_what_cannot_be_read_is_said_before_anything_is_made(running: Up, tmp_path: Path) -> None:
    """In one sentence, with status 1."""
    said = running.tallygate("import", "litellm", "acme", str(tmp_path), "--apply")
    assert said.status == 1
    assert said.err.strip() == f"error: There is no table LiteLLM_VerificationToken in {tmp_path}."
