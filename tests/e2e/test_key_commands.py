"""The command line for API keys, and the page on them as an operator types it, against a pair that asks for proof."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.programs.command import Said, Up, up
from tests.harness.wire.grpcurl import EXECUTABLE

PAGE = Path(__file__).parents[2] / "docs" / "keys.md"
FORMER = "x7Kd9Qm2pLzR4vTn8WbYc3HsJ6fGa1Ue"
SHAS = [hashlib.sha256(f"{FORMER}{number}".encode()).hexdigest() for number in range(3)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def running(data: Path) -> Iterator[Up]:
    """Both services, started by `tallygate up --auth`."""
    with up(data, "--auth") as running:
        yield running


@pytest.fixture
def operator(running: Up, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Up:
    """Logged in by the operator's token, in a directory of its own."""
    monkeypatch.setenv("TALLYGATE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    made(running.run("--token-file", str(data / "operator.token"), "login", "here", "--control", running.control))
    return running


def made(said: Said) -> Said:
    assert said.status == 0, said.err
    return said


def scope(services: list[str], models: list[str]) -> dict[str, object]:
    return {"all_services": not services, "services": services, "all_models": not models, "models": models}


def shell(running: Up, data: Path, script: str) -> str:
    """What a shell with grpcurl says, as the operator at the node of this pair."""
    environment = {
        "PATH": f"{Path(EXECUTABLE).parent}:{os.environ['PATH']}",
        "TOKEN": (data / "operator.token").read_text().strip(),
    }
    text = script.replace("127.0.0.1:7402", running.metering)
    done = subprocess.run(["bash", "-c", text], check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_on_keys_is_typed_as_it_is(operator: Up, data: Path, tmp_path: Path) -> None:
    """Every command in its order; the table of what came of it names each key, and no file is readable by others."""
    (tmp_path / "former.key").write_text(f"{FORMER}\n")
    (tmp_path / "keys.csv").write_text(f"key,sha256,team\nold-1,{SHAS[0]},search\nold-2,{SHAS[1]},\n")
    text = PAGE.read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    said: dict[str, Said] = {}
    decision: dict[str, str] = {}
    for kind, block in blocks:
        if kind:
            while (decision := json.loads(shell(operator, data, block))["decision"]).get("retryable"):
                pass
        else:
            said |= {line: made(operator.run(*shlex.split(line)[1:])) for line in block.splitlines()}
    assert len(said) > 10
    assert (decision["verdict"], decision["service"]) == ("VERDICT_ALLOW", "accounts/acme/services/finder")
    listed = made(operator.run("key", "list", "acme")).out
    assert all(f"accounts/acme/keys/{key}" in listed for key in ("search-prod", "moved", "old-1", "old-2"))
    assert "demo" not in listed
    shown = said["tallygate key show acme/search-prod"].out
    assert all(
        word in shown for word in ("services/finder", "models/llama", "192.0.2.0/24", "secret before until", "valid")
    )
    secrets = [(tmp_path / f"search-prod{end}.key").read_text().strip() for end in ("", "-2")]
    assert [secret[:3] for secret in secrets] == ["sk-", "sk-"]
    assert stat.S_IMODE((tmp_path / "search-prod.key").stat().st_mode) == 0o600
    everything = "".join(one.out + one.err for one in said.values())
    assert not any(secret in everything for secret in (*secrets, FORMER))
    assert "REQUIRED" in made(operator.run("service", "show", "acme/finder")).out


def test_a_key_is_changed_part_by_part(operator: Up) -> None:
    """What is not given stays, also the other half of a scope."""
    run = operator.run
    made(run("account", "create", "bolt"))
    made(run("model", "create", "small"))
    for service in ("a", "b"):
        made(run("service", "create", f"bolt/{service}", "--model", "small"))
    first = made(run("key", "create", "bolt/first", "--service", "a", "--json")).json
    assert first["secret"].startswith("sk-")

    def changed(*options: str) -> dict[str, object]:
        return dict(made(run("key", "update", "bolt/first", *options, "--json")).json)

    services = ["accounts/bolt/services/a", "accounts/bolt/services/b"]
    both = changed("--service", "b", "--service", "bolt/a", "--display-name", "First")
    assert both["scope"] == scope(services, [])
    one_model = changed("--model", "small", "--route", "small=b", "--network", "2001:db8::/32", "--expires", "1h")
    assert one_model["scope"] == scope(services, ["models/small"])
    assert one_model["routes"] == {"routes": [{"model": "models/small", "service": services[1]}]}
    assert one_model["display_name"] == "First"
    assert one_model["expire_time"]
    open_again = changed("--all-services", "--all-models", "--no-routes", "--any-network", "--never-expires")
    assert open_again["scope"] == scope([], [])
    assert not open_again.get("expire_time")
    assert open_again["uid"] == first["key"]["uid"]
    again = run("key", "create", "bolt/first")
    assert again.status == 1
    assert "never reused" in again.err


def test_a_repeat_says_that_the_secret_is_lost(operator: Up) -> None:
    """And how to get another."""
    run = operator.run
    made(run("account", "create", "corp"))
    command = ("key", "create", "corp/first", "--idempotency-key", "k")
    assert made(run(*command)).out.startswith("sk-")
    repeat = run(*command)
    assert repeat.status == 1
    assert "rotate the key" in repeat.err
    assert made(run("key", "rotate", "corp/first", "--at-once")).out.startswith("sk-")
    assert "disabled" in made(run("key", "disable", "corp/first")).out
    assert "valid" in made(run("key", "enable", "corp/first")).out
    assert "deleted" in made(run("key", "delete", "corp/first")).out
    assert [key["name"] for key in made(run("key", "list", "corp", "--deleted", "--json")).json["keys"]] == [
        "accounts/corp/keys/first"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("key\nold\n", "has the columns"),
        ("key,sha256,secret\nold,x,y\n", "has the columns"),
        (f"key,sha256\nold,{SHAS[2]},more\n", "line 2: has another number of cells"),
        (f"key,sha256,team\nold,{SHAS[2]}\n", "line 2: has another number of cells"),
        ("key,sha256\nold,abc\n", "line 2: sha256 is no SHA-256"),
        (f"key,sha256\nOld,{SHAS[2]}\n", "keys[0].name"),
    ],
)
def test_a_wrong_file_is_refused_as_a_whole(operator: Up, tmp_path: Path, text: str, problem: str) -> None:
    """With the place of the fault, and nothing is imported; a file that is not there as well."""
    operator.run("account", "create", "dune")
    (tmp_path / "keys.csv").write_text(text)
    refused = operator.run("key", "import", "dune", "keys.csv")
    assert refused.status == 1
    assert problem in refused.err
    assert operator.run("key", "import", "dune", "none.csv").status == 1
    assert json.loads(made(operator.run("key", "list", "dune", "--json")).out)["keys"] == []


@pytest.mark.parametrize("name", ["first", "acme/", "accounts/acme/first", "a/b/c"])
def test_a_name_says_account_and_key(operator: Up, name: str) -> None:
    """Others are refused before anything is sent."""
    refused = operator.run("key", "show", name)
    assert refused.status == 2
    assert "is not a key" in refused.err
