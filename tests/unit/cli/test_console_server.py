"""`tallygate console`: what would serve nobody well is refused before it listens."""

import sys

import pytest

from tests.harness.programs.command import typed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--listen", "0.0.0.0:0"], "Refusing to listen"),
        (["--listen", "nowhere"], "is no address to listen on"),
        (["--public-url", "http://console.example"], "--public-url must begin with https://"),
        (["--public-url", "https://console.example/path"], "--public-url has a path"),
        (["--inference-url", "ftp://models.example"], "--inference-url must begin with"),
        (["--tls-cert", "x"], "--tls-cert and --tls-key belong together"),
        (["--tls-cert", "/x/cert", "--tls-key", "/x/key"], "cannot be used"),
        (["--control", "no-port"], "has no port"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(options: list[str], said: str) -> None:
    """And nothing is served."""
    done = typed("console", *options)
    assert done.status == 1
    assert said in " ".join(done.err.split())
    assert done.out == ""


def test_a_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the command alone is told what to install."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = typed("console")
    assert done.status == 2
    assert "pip install 'tallygate[cli,console]'" in " ".join(done.err.split())
