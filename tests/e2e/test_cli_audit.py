"""`tallygate audit` against the real pair."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.programs.command import Up, up


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Both services, and two accounts, of which one has money."""
    with up(tmp_path_factory.mktemp("data")) as running:
        for account in ("acme", "beta"):
            assert running.tallygate("account", "create", account).status == 0
        assert running.tallygate("account", "top-up", "acme", "--amount", "5").status == 0
        yield running


def test_the_log_is_listed_for_people_and_programs(running: Up) -> None:
    """The newest first, as a table or JSON, filtered as asked."""
    listed = running.tallygate("audit", "list", "--account", "acme")
    assert listed.status == 0, listed.err
    lines = listed.out.splitlines()
    assert [("TopUpAccount" in line, "CreateAccount" in line) for line in lines[1:]] == [(True, False), (False, True)]
    assert "CHANGED" in lines[1]
    found = running.tallygate("audit", "list", "--limit", "2", "--json").json["audit_entries"]
    assert [one["resource"] for one in found] == ["accounts/acme", "accounts/beta"]
    none = running.tallygate("audit", "list", "--outcome", "denied", "--since", "2020-01-01", "--json")
    assert none.json["audit_entries"] == []


def test_the_log_is_exported_as_json_lines(running: Up, tmp_path: Path) -> None:
    """To standard output, or to a file that is whole once it is there."""
    shown = running.tallygate("audit", "export", "--resource", "accounts/acme")
    assert shown.status == 0, shown.err
    methods = [json.loads(line)["method"].rpartition("/")[2] for line in shown.out.splitlines()]
    assert methods == ["TopUpAccount", "CreateAccount"]
    assert "2 entries exported" in shown.err
    file = tmp_path / "audit.jsonl"
    assert running.tallygate("audit", "export", "--resource", "accounts/acme", "--file", str(file)).status == 0
    assert file.read_text() == shown.out
    assert [path.name for path in tmp_path.iterdir()] == ["audit.jsonl"]


def test_a_place_that_cannot_be_written_to_is_said(running: Up, tmp_path: Path) -> None:
    """In one sentence, with what to do."""
    failed = running.tallygate("audit", "export", "--file", str(tmp_path / "none" / "audit.jsonl"))
    assert failed.status == 1
    assert "choose another place by --file" in failed.err
