"""Contexts: kept, chosen, private where they must be, and plain about a file that cannot be used."""

import json
import stat
from pathlib import Path

import pytest

from tallygate.cli.contexts import Context, ContextError, Contexts, ContextStore, KeptToken, current_context

PROD, TEST = Context(control="10.0.0.1:7401", ca_file="/etc/ca.pem"), Context(control="127.0.0.1:7401")


def test_without_files_there_is_no_context(tmp_path: Path) -> None:
    """And commands go on as they did."""
    assert ContextStore(tmp_path / "none").read() == Contexts()
    assert current_context({"TALLYGATE_CONFIG_DIR": str(tmp_path)}) == ("", Context())


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    """The last one that was kept is the current one; a context that is deleted is current no more."""
    store = ContextStore(tmp_path / "deep" / "tallygate")
    store.write(Contexts().with_context("prod", PROD).with_context("test", TEST))
    assert store.read() == Contexts("test", {"prod": PROD, "test": TEST})
    store.write(store.read().without("test"))
    assert store.read() == Contexts("", {"prod": PROD})


def test_tokens_are_private(tmp_path: Path) -> None:
    """Only their owner reads the file, and no token shows where a token is printed by mistake."""
    store = ContextStore(tmp_path)
    store.keep_token("prod", KeptToken("tgt_secret", signed_in=True))
    store.keep_token("test", KeptToken("tgt_other"))
    assert store.token("prod") == KeptToken("tgt_secret", signed_in=True)
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600
    assert "tgt_secret" not in repr(store.token("prod"))
    store.keep_token("prod", None)
    assert store.token("prod") is None
    assert store.token("test") == KeptToken("tgt_other")
    assert "tgt_secret" not in (tmp_path / "tokens.json").read_text()


def test_the_environment_chooses(tmp_path: Path) -> None:
    """Another context than the current one, and one that there is not is said to be missing."""
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    ContextStore.of(environment).write(Contexts().with_context("prod", PROD).with_context("test", TEST))
    assert current_context(environment) == ("test", TEST)
    assert current_context({**environment, "TALLYGATE_CONTEXT": "prod"}) == ("prod", PROD)
    with pytest.raises(ContextError, match="names the context gone, and there is none"):
        current_context({**environment, "TALLYGATE_CONTEXT": "gone"})


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"contexts": []}', '{"contexts": {"a": 1}}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    """With what to do about it, and nothing is overwritten."""
    (tmp_path / "contexts.json").write_text(text)
    with pytest.raises(ContextError, match=r"contexts\.json"):
        ContextStore(tmp_path).read()
    assert (tmp_path / "contexts.json").read_text() == text


def test_settings_of_a_later_version_do_no_harm(tmp_path: Path) -> None:
    """What is not known is left out."""
    kept = {"current": "a", "contexts": {"a": {"control": "h:1", "colour": "red"}}}
    (tmp_path / "contexts.json").write_text(json.dumps(kept))
    assert ContextStore(tmp_path).read() == Contexts("a", {"a": Context(control="h:1")})


@pytest.mark.parametrize(
    ("context", "nodes"),
    [
        (Context("127.0.0.1:7401"), "127.0.0.1:7402"),
        (Context("localhost:7401"), "localhost:7402"),
        (Context("[::1]:7401"), "[::1]:7402"),
        (Context("127.0.0.1:7401", "10.0.0.2:7402"), "10.0.0.2:7402"),
        (Context("127.0.0.1:8401"), ""),
        (Context("10.0.0.1:7401"), ""),
        (Context("127.0.0.1:7401,127.0.0.1:7411"), ""),
        (Context(), ""),
    ],
)
def test_nodes_that_nobody_said_are_those_of_a_pair_on_this_machine(context: Context, nodes: str) -> None:
    """As `tallygate up` starts it, and no others: a token is not sent to a server that it may not be for."""
    assert context.nodes == nodes
