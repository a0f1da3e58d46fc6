"""The settings file as a person uses it: what holds and what says it, and what is said of a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallygate.cli.contexts import Context, Contexts, ContextStore
from tests.harness.programs.command import tallygate, typed


def test_settings_are_shown_with_what_says_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, a variable that goes before it, and a context; no password and no token is shown."""
    file = tmp_path / "tallygate.toml"
    file.write_text(
        'node_name = "n1"\nlog_format = "text"\ncontrol_database_url = "postgresql://u:s3cret@h/c?sslpassword=s3cret&host=h"\n'
    )
    for name in ("CA", "CERT", "KEY", "CONTROL_ADDRESS"):
        monkeypatch.delenv(f"TALLYGATE_{name}", raising=False)
    monkeypatch.setenv("TALLYGATE_SETTINGS_FILE", str(file))
    monkeypatch.setenv("TALLYGATE_LOG_FORMAT", "json")
    monkeypatch.setenv("TALLYGATE_TOKEN", "tgt_s3cret")
    monkeypatch.setenv("TALLYGATE_CONFIG_DIR", str(tmp_path))
    ContextStore(tmp_path).write(Contexts().with_context("prod", Context(control="10.0.0.1:7401")))
    shown = typed("config", "show", "--json")
    assert shown.status == 0, shown.err
    rows = {row["setting"]: (row["value"], row["from"]) for row in shown.json}
    assert rows["node_name"] == ("n1", str(file))
    assert rows["log_format"] == ("json", f"TALLYGATE_LOG_FORMAT, before {file}")
    assert rows["control_address"] == ("10.0.0.1:7401", "context prod")
    assert "s3cret" not in shown.out + typed("config", "show").out


@pytest.mark.parametrize("command", [("config", "show"), ("control", "serve"), ("account", "list")])
def test_a_mistake_in_the_settings_file_is_one_sentence(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Nothing is started with half of what was meant."""
    file = tmp_path / "tallygate.toml"
    file.write_text('control_adress = "127.0.0.1:1"\n')
    said = tallygate(*command, variables={"TALLYGATE_SETTINGS_FILE": str(file)})
    assert said.status == 2
    assert said.err.splitlines() == [
        f'error: {file} has "control_adress", and there is no such setting; the nearest is control_address.'
    ]
