"""`tallygate login`: what is not sent, and to whom."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tallygate.cli import login
from tallygate.cli.app import app
from tallygate.cli.contexts import Context, ContextError, Contexts, ContextStore, KeptToken
from tallygate.control.v1 import access_service_pb2


@pytest.mark.parametrize(
    "address", ["control.example:7401", "127.0.0.1:7401,control.example:7401", "unix-7.example:7401", "192.0.2.1:7401"]
)
def test_nobody_signs_in_by_a_browser_in_plain_text(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At another machine: who is on the way would read the id token, or name an issuer of their own."""
    monkeypatch.setenv("TALLYGATE_CONFIG_DIR", str(tmp_path))
    done = CliRunner().invoke(app, ["login", "--no-browser", "--control", address])
    assert done.exit_code == 1
    assert "in plain text" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_token_is_kept_beside_another_servers_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the new address cannot be written down, the context has no token, neither the old one nor the new one."""
    store = ContextStore(tmp_path)
    store.write(Contexts().with_context("default", Context(control="127.0.0.1:1")))
    store.keep_token("default", KeptToken("tgt_old"))

    def full(_: ContextStore, __: Contexts) -> None:
        raise ContextError("contexts.json cannot be written: No space left on device; make its directory writable.")

    monkeypatch.setenv("TALLYGATE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("TALLYGATE_TOKEN", "tgt_new")
    monkeypatch.setattr(ContextStore, "write", full)
    monkeypatch.setattr(login, "_who_am_i", lambda *_: access_service_pb2.WhoAmIResponse())
    done = CliRunner().invoke(app, ["login", "--control", "127.0.0.1:2"])
    assert done.exit_code == 1
    assert store.token("default") is None


@pytest.mark.parametrize(
    "context",
    [
        Context(control="control.example:7401", ca_file="/nowhere/ca.pem"),
        Context(control="control.example:7401"),
    ],
)
def test_one_logs_out_where_the_server_cannot_be_asked(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its authority's file is gone, or the token is not to be sent: it is forgotten here, and that is said."""
    store = ContextStore(tmp_path)
    store.write(Contexts().with_context("default", context))
    store.keep_token("default", KeptToken("tgt_old", signed_in=True))
    monkeypatch.setenv("TALLYGATE_CONFIG_DIR", str(tmp_path))
    done = CliRunner().invoke(app, ["logout"])
    assert done.exit_code == 0, done.stderr
    assert store.token("default") is None
    assert "Logged out of default." in done.stdout
    assert "The server was not told, so the token opens until it expires: " in done.stderr
    assert "tgt_old" not in done.output
