"""The command where its extra is not installed."""

import sys

import pytest

from tallygate import cli


def test_a_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Who installed only the client and types the command is told what to install."""
    monkeypatch.delitem(sys.modules, "tallygate.cli.app", raising=False)
    monkeypatch.delattr(cli, "app", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == ("The command needs typer, which comes with: pip install 'tallygate[cli]'\n")
