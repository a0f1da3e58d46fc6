"""What a person reads when a call fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from typing_extensions import override

from tallygate._security import VARIABLES
from tallygate._wire import failures
from tallygate._wire.failures import Failure
from tallygate.cli.contexts import Context, Contexts, ContextStore, KeptToken
from tallygate.cli.rpc import key_or_new, metering_addresses, metering_channel, sentence
from tallygate.cli.security import current_security


class _Failed(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return ""

    def trailing_metadata(self) -> tuple[Any, ...]:
        return ()

    @override
    def __str__(self) -> str:
        return self._code.name


def test_a_call_that_was_not_answered_names_the_key_to_repeat_it_with() -> None:
    """Also where the key was made up: without it a repeat would be done twice."""
    made = key_or_new("")
    assert f"--idempotency-key {made}" in sentence(_Failed(grpc.StatusCode.DEADLINE_EXCEEDED), "control")
    assert "--idempotency-key mine" in sentence(_Failed(grpc.StatusCode.DEADLINE_EXCEEDED), key_or_new("mine"))


def test_nodes_come_one_by_one_or_with_commas() -> None:
    """Options that are repeated, and the variable, which has them all."""
    assert metering_addresses(["a:1", "b:2, c:3"]) == ["a:1", "b:2", "c:3"]


def log_in(directory: Path, context: Context) -> None:
    """A person has logged in there."""
    store = ContextStore(directory)
    store.write(Contexts().with_context("prod", context))
    store.keep_token("prod", KeptToken("tgt_secret"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where contexts are kept; the environment says nothing."""
    monkeypatch.setenv("TALLYGATE_CONFIG_DIR", str(tmp_path))
    for variable in ("TALLYGATE_CONTEXT", *VARIABLES):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def test_the_token_of_a_login_goes_to_the_nodes_of_a_pair_on_this_machine(home: Path) -> None:
    """Without their addresses at the login: `tallygate up` has told none."""
    log_in(home, Context(control="127.0.0.1:7401"))
    (address,) = metering_addresses(None)
    assert current_security(address).token == "tgt_secret"
    assert current_security("127.0.0.1:7502").token == ""


def test_a_context_elsewhere_without_nodes_says_what_to_give(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens on this machine for a pair that is elsewhere."""
    log_in(home, Context(control="10.0.0.1:7401"))
    with pytest.raises(typer.Exit):
        metering_addresses(None)
    said = " ".join(capsys.readouterr().err.split())
    assert "the context prod does not say where its metering nodes listen" in said
    assert "`tallygate login prod --metering HOST:PORT`" in said


def test_a_call_that_showed_nothing_says_what_to_show(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is a token, why it was not sent."""
    monkeypatch.setattr(failures, "decode_failure", lambda _: Failure("CREDENTIAL_MISSING"))

    def refused() -> str:
        with pytest.raises(typer.Exit), metering_channel("127.0.0.1:7502"):
            raise _Failed(grpc.StatusCode.UNAUTHENTICATED)
        return " ".join(capsys.readouterr().err.split())

    assert "log in by `tallygate login`" in refused()
    log_in(home, Context(control="10.0.0.1:7401"))
    assert "`tallygate login prod --control 10.0.0.1:7401 --metering 127.0.0.1:7502`" in refused()
