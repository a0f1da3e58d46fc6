"""The command line against a pair that asks for proof: from the first operator to a team's own token."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.programs.command import Said, Up, tallygate, up


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where contexts and tokens of this module's person are kept."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def running(data: Path) -> Iterator[Up]:
    """Both services, started by `tallygate up --auth`."""
    with up(data, "--auth") as running:
        yield running


@pytest.fixture
def as_operator(running: Up, data: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Up:
    """Logged in by the operator's token."""
    monkeypatch.setenv("TALLYGATE_CONFIG_DIR", str(home))
    logged_in = running.run("--token-file", str(data / "operator.token"), "login", "here", "--control", running.control)
    assert logged_in.status == 0, logged_in.err
    assert "operator on platform" in logged_in.out
    return running


def made(said: Said) -> Said:
    assert said.status == 0, said.err
    return said


def test_one_logs_in_where_one_of_several_replicas_answers(
    running: Up, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the context has them all."""
    monkeypatch.setenv("TALLYGATE_CONFIG_DIR", str(tmp_path))
    both = f"127.0.0.1:1,{running.control}"
    made(running.run("--token-file", str(data / "operator.token"), "login", "--control", both))
    assert both in made(running.run("context", "list")).out
    assert "operator on platform" in made(running.run("whoami")).out
    made(running.run("logout"))


def test_without_proof_nobody_gets_in(running: Up) -> None:
    """The sentence says what to bring; a token that nobody has is said to be none."""
    refused = running.tallygate("account", "show", "acme")
    assert refused.status == 1
    assert "CREDENTIAL_MISSING" in refused.err


def test_the_first_secrets_are_private(running: Up, data: Path) -> None:
    """Only their owner may read them; starting again keeps them."""
    for name in ("operator.token", "pepper", "node.token"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600


def test_an_operator_sets_a_tenant_up(as_operator: Up, tmp_path: Path) -> None:
    """Account, team, service account, role and token; the token then does what its role may, and no more."""
    run = as_operator.run
    made(run("account", "create", "acme"))
    made(run("model", "create", "llama", "--trial-tokens", "50000"))
    assert "accounts/acme/teams/search" in made(run("team", "create", "acme/search", "--display-name", "Search")).out
    made(run("service-account", "create", "acme/search/robot"))
    member = "serviceAccount:acme/search/robot"
    assert "team-admin" in made(run("member", "add", "acme/search", member, "--role", "team-admin")).out
    secret = tmp_path / "robot.token"
    created = made(run("token", "create", "acme/search/robot", "--valid-for", "1h", "--out", str(secret)))
    assert secret.read_text().startswith("tgt_")
    assert secret.read_text().strip() not in created.out + created.err
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600

    def robot(*arguments: str) -> Said:
        return run("--token-file", str(secret), *arguments, "--control", as_operator.control)

    assert "team-admin on accounts/acme/teams/search" in made(robot("whoami")).out
    made(robot("service", "create", "acme/finder", "--model", "llama", "--team", "search"))
    denied = robot("service", "create", "acme/other", "--model", "llama")
    assert denied.status == 1
    assert "SERVICES_MANAGE on accounts/acme" in denied.err
    assert "There is no accounts/globex" in robot("account", "show", "globex").err

    tokens = json.loads(made(run("token", "list", "acme/search/robot", "--json")).out)["access_tokens"]
    made(run("token", "disable", tokens[0]["name"]))
    refused = robot("whoami")
    assert refused.status == 1
    assert "CREDENTIAL_REVOKED" in refused.err
    made(run("token", "enable", tokens[0]["name"]))
    made(robot("whoami"))
    made(run("member", "remove", "acme/search", member))
    assert "nothing yet" in made(robot("whoami")).out
    bindings = json.loads(made(run("binding", "list", "acme", "--json")).out)
    assert bindings["bindings"] == []


def test_a_context_is_used_for_its_own_servers_only(as_operator: Up, running: Up) -> None:
    """Its token is not sent to another address, where somebody else may listen."""
    made(as_operator.run("whoami"))
    elsewhere = as_operator.run("whoami", "--control", "127.0.0.1:9")
    assert "cannot be reached" in elsewhere.err
    assert "here" in made(as_operator.run("context", "list")).out


def test_logging_out_forgets(running: Up, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is gone from the file, and the next command has none."""
    monkeypatch.setenv("TALLYGATE_CONFIG_DIR", str(tmp_path))
    made(running.run("--token-file", str(data / "operator.token"), "login", "--control", running.control))
    made(running.run("logout"))
    assert "tgt_" not in (tmp_path / "tokens.json").read_text()
    assert "CREDENTIAL_MISSING" in running.run("whoami").err
    assert "nobody is logged in" in running.run("logout").err


def test_a_secret_is_not_made_where_it_could_not_be_kept(as_operator: Up, tmp_path: Path) -> None:
    """The file is looked at first."""
    taken = tmp_path / "taken"
    taken.write_text("something")
    refused = as_operator.run("token", "create", "x", "--out", str(taken))
    assert refused.status == 1
    assert "is there already" in refused.err
    assert taken.read_text() == "something"


def test_bootstrap_makes_what_is_missing(tmp_path: Path) -> None:
    """Two files of their owner alone; a second run changes nothing."""
    first = tallygate("token", "bootstrap", str(tmp_path / "secrets"))
    assert first.status == 0, first.err
    before = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    assert set(before) == {"operator.token", "pepper"}
    again = tallygate("token", "bootstrap", str(tmp_path / "secrets"))
    assert again.status == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()} == before
    assert stat.S_IMODE((tmp_path / "secrets" / "pepper").stat().st_mode) == 0o600
