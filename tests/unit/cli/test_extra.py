"""The command before any of its commands: where its extra is not installed, and what gRPC's core may write."""

import os
import sys

import pytest

from tallygate import cli
from tallygate.cli import app


def test_a_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Who installed only the client and types the command is told what to install."""
    monkeypatch.delitem(sys.modules, "tallygate.cli.app", raising=False)
    monkeypatch.delattr(cli, "app", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == ("The command needs typer, which comes with: pip install 'tallygate[cli]'\n")


@pytest.mark.parametrize(
    ("arguments", "verbosity"), [(["service", "list"], "NONE"), (["control", "serve", "--insecure"], None)]
)
def test_what_went_wrong_is_said_once(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], verbosity: str | None
) -> None:
    """By the command, in a sentence; gRPC's core is silent unless its own variable is set. A service decides itself."""
    monkeypatch.setenv("GRPC_VERBOSITY", "")
    monkeypatch.delenv("GRPC_VERBOSITY")
    monkeypatch.setattr(app, "app", lambda: None)
    monkeypatch.setattr(sys, "argv", ["tallygate", *arguments])
    app.main()
    assert os.environ.get("GRPC_VERBOSITY") == verbosity
