"""`tallygate tls`: what is in the certificates, who may read the keys, and that nothing is overwritten."""

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from typer.testing import CliRunner

from tallygate._pem import read_pair
from tallygate.cli.app import app


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["tls", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, " ".join((done.stdout + done.stderr).split())


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())


def names(folder: Path, name: str) -> list[str]:
    found = certificate(folder, name).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(each.value) for each in found]


def verifies(folder: Path, name: str) -> None:
    """By an implementation that is stricter than the one that serves."""
    policy = PolicyBuilder().store(Store([certificate(folder, "ca")]))
    if name.startswith("server"):
        policy.build_server_verifier(x509.DNSName("localhost")).verify(certificate(folder, name), [])
    else:
        policy.build_client_verifier().verify(certificate(folder, name), [])


def test_a_fleet_has_all_that_it_needs(tmp_path: Path) -> None:
    """An authority, a server known by this machine's names and others, a node, and inference servers."""
    folder = tmp_path / "new" / "tls"
    status, _ = run("init", str(folder), "--host", "control.example", "--host", "10.0.0.1", "--host", "fd00::1")
    assert status == 0
    hosts = ["control.example", "10.0.0.1", "fd00::1", "localhost", "127.0.0.1", "::1"]
    assert names(folder, "server") == hosts
    assert names(folder, "node-metering-1") == ["spiffe://tallygate.internal/tallygate/node/metering-1"]
    assert names(folder, "meter") == ["spiffe://tallygate.internal/tallygate/meter/*"]
    for name in ("server", "node-metering-1", "meter"):
        verifies(folder, name)
        read_pair(str(folder / f"{name}.pem"), str(folder / f"{name}-key.pem"))
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(files) == 8
    assert {mode for name, mode in files.items() if name.endswith("-key.pem")} == {0o600}


def test_further_certificates_are_of_the_same_authority(tmp_path: Path) -> None:
    """For servers, nodes and accounts, with names of a trust domain that is said."""
    assert run("init", str(tmp_path), "--trust-domain", "acme.example", "--node", "a", "--meter", "acme")[0] == 0
    said = ("--trust-domain", "acme.example", "--host", "b.example", "--node", "b", "--meter", "accounts/beta")
    assert run("issue", str(tmp_path), *said, "--days", "7")[0] == 0
    for name in ("server-b.example", "node-a", "node-b", "meter-acme", "meter-beta"):
        verifies(tmp_path, name)
    assert names(tmp_path, "node-b") == ["spiffe://acme.example/tallygate/node/b"]
    assert names(tmp_path, "meter-beta") == ["spiffe://acme.example/tallygate/meter/beta"]
    issued = certificate(tmp_path, "node-b")
    assert (issued.not_valid_after_utc - issued.not_valid_before_utc).days == 7


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """One file that is there is enough for none to be written."""
    there = tmp_path / "meter-key.pem"
    there.write_text("precious")
    status, said = run("init", str(tmp_path))
    assert status == 1
    assert f"{there} exists already, and is not overwritten" in said
    assert [path.name for path in tmp_path.iterdir()] == ["meter-key.pem"]
    assert there.read_text() == "precious"
    assert run("init", str(tmp_path), "--meter", "acme")[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert run("issue", str(tmp_path), "--node", "metering-1")[0] == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (("--host", "not a host"), "not a host is no name or address of a server"),
        (("--host", "spiffe://a"), "spiffe://a is no name or address of a server"),
        (("--node", "Node 1"), "Node 1 is no name of a node"),
        (("--node", "a/../b"), "a/../b is no name of a node"),
        (("--meter", "**"), "** is no account"),
        (("--meter", "a/b"), "a/b is no account"),
        (("--trust-domain", "a/b"), "a/b is no trust domain"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path: Path, said: tuple[str, str], sentence: str) -> None:
    """Before anything is written."""
    status, text = run("init", str(tmp_path / "tls"), *said)
    assert status == 1
    assert sentence in text
    assert not (tmp_path / "tls").exists()


def test_an_authority_that_is_not_there_or_broken_is_a_sentence(tmp_path: Path) -> None:
    """The sentence says what makes one."""
    status, said = run("issue", str(tmp_path), "--node", "b")
    assert (status, "ca.pem cannot be read: No such file or directory; `tallygate tls init`" in said) == (1, True)
    run("init", str(tmp_path))
    (tmp_path / "ca-key.pem").write_bytes((tmp_path / "meter-key.pem").read_bytes())
    assert "holds no authority that can be used" in run("issue", str(tmp_path), "--node", "b")[1]
    assert "nothing to issue" not in said
