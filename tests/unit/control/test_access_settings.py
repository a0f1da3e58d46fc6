"""Settings of who may call: when proof is asked for, and the files that credentials are known by."""

from pathlib import Path

import pytest

from control_service.access_settings import AccessSettings, read_credentials
from control_service.settings import parse
from tallygate._access.token_text import token_id_of, token_text
from tallygate._server.errors import ConfigurationError

TOKEN = token_text(token_id_of(bytes(15)), bytes(32))
TLS = ["--tls-cert", "c", "--tls-key", "k"]
CLIENT_CA = [*TLS, "--client-ca", "ca", "--mtls-listen", "127.0.0.1:0"]
PEPPER = ["--pepper-file", "pepper"]
NETWORK = ["--listen", "0.0.0.0:1"]


def secret(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "asks"),
    [
        ([], False),
        (TLS, False),
        (PEPPER, True),
        (["--operator-token-file", "token"], True),
        (CLIENT_CA, True),
        (["--oidc-config", "issuers.toml", *PEPPER], True),
        (["--auth", *PEPPER], True),
        ([*NETWORK, "--insecure"], False),
        ([*NETWORK, "--insecure", *PEPPER], True),
        ([*NETWORK, *TLS, *PEPPER], True),
        (["--no-auth", *PEPPER], False),
        (["--no-auth"], False),
        ([*NETWORK, "--insecure", "--no-auth", *PEPPER], False),
    ],
)
def test_proof_is_asked_for_once_something_proves(arguments: list[str], asks: bool) -> None:
    """On loopback, and on a network that is trusted, a server without any of it is open."""
    assert parse(arguments, {}).access.asks_for_proof is asks


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*NETWORK, *TLS], "without asking callers who they are.*--operator-token-file and --pepper-file.*--insecure"),
        (["--auth"], "--auth lets nobody in as it is"),
        (["--no-auth", "--auth", *PEPPER], "--no-auth contradicts"),
        (["--no-auth", "--operator-token-file", "token", *PEPPER], "--no-auth contradicts"),
        (["--no-auth", *CLIENT_CA], "--no-auth contradicts"),
        ([*NETWORK, *TLS, "--no-auth", *PEPPER], "without asking callers who they are"),
        (["--trust-domain", "example.org", *PEPPER], "--trust-domain needs --client-ca"),
        (["--trust-domain", "Example/x", *CLIENT_CA], "no trust domain"),
        (["--oidc-config", "issuers.toml"], "--oidc-config needs --pepper-file"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], said: str) -> None:
    """In a sentence with the ways out."""
    with pytest.raises(ConfigurationError, match=said):
        parse(arguments, {})


def test_the_environment_says_the_same() -> None:
    """As for every option."""
    environment = {
        "TALLYGATE_PEPPER_FILE": "p",
        "TALLYGATE_OPERATOR_TOKEN_FILE": "o",
        "TALLYGATE_OIDC_CONFIG": "i",
        "TALLYGATE_AUTH": "1",
    }
    assert parse([], environment).access == AccessSettings(True, "p", "o", "", "i")


def test_credentials_are_read_from_files(tmp_path: Path) -> None:
    """The pepper as it is, the token without the line break at its end."""
    pepper = secret(tmp_path / "pepper", b"p" * 32)
    token = secret(tmp_path / "token", f"{TOKEN}\n".encode())
    credentials = read_credentials(AccessSettings(True, pepper, token, "example.org"))
    assert credentials.operator is not None
    assert credentials.operator.token_id == token_id_of(bytes(15))
    assert credentials.seal is not None
    assert credentials.trust_domain == "example.org"


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"p" * 31, 0o600, "too short"),
        (b"p" * 32, 0o640, "open to others .mode 0640.; run chmod 600"),
        (b"p" * 32, 0o604, "open to others"),
        (b"p" * 70_000, 0o600, "more than"),
    ],
)
def test_a_pepper_that_is_none_is_refused(tmp_path: Path, content: bytes, mode: int, said: str) -> None:
    """One that is too short, or that others may have read."""
    path = secret(tmp_path / "pepper", content, mode)
    with pytest.raises(ConfigurationError, match=said):
        read_credentials(AccessSettings(True, pepper_file=path))


def test_no_message_repeats_a_secret(tmp_path: Path) -> None:
    """A file with a token that was cut short is named, its content is not; a missing file is named, too."""
    path = secret(tmp_path / "token", TOKEN[:-1].encode())
    with pytest.raises(ConfigurationError, match="holds no access token") as caught:
        read_credentials(AccessSettings(True, operator_token_file=path))
    assert TOKEN[4:20] not in str(caught.value)
    with pytest.raises(ConfigurationError, match="none cannot be read: No such file"):
        read_credentials(AccessSettings(True, operator_token_file=str(tmp_path / "none")))
