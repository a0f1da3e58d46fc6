"""`tallygate login`: what is not sent, and to whom."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tallygate.cli.app import app


@pytest.mark.parametrize("address", ["control.example:7401", "unix-7.example:7401", "192.0.2.1:7401"])
def test_nobody_signs_in_by_a_browser_in_plain_text(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At another machine: who is on the way would read the id token, or name an issuer of their own."""
    monkeypatch.setenv("TALLYGATE_CONFIG_DIR", str(tmp_path))
    done = CliRunner().invoke(app, ["login", "--no-browser", "--control", address])
    assert done.exit_code == 1
    assert "in plain text" in done.stderr
    assert list(tmp_path.iterdir()) == []
