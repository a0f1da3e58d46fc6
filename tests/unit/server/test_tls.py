"""Files of TLS: refused in a sentence where they are broken, read again when they change, and kept when that fails."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from control_service.settings import parse
from tallygate._pem import COMPLAINT_INTERVAL_NS, PemError, Watched, read_authorities, read_pair
from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.tls import ServerCertificates, ServerTls, peer_certificate_uris
from tests.harness.tls import HOSTS, Certificates, PairFiles

SECOND_NS = 1_000_000_000


class Now:
    """A monotonic clock that a test advances."""

    def __init__(self) -> None:
        self.ns = 7

    def __call__(self) -> int:
        return self.ns

    def pass_s(self, seconds: int) -> None:
        self.ns += seconds * SECOND_NS


@pytest.fixture(name="made", scope="module")
def fixture_made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(name="files")
def fixture_files(made: Certificates, tmp_path: Path) -> PairFiles:
    """A pair in a folder of its own, to be broken."""
    source = made.server()
    copied = PairFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    shutil.copy(source.certificate, copied.certificate)
    shutil.copy(source.key, copied.key)
    return copied


def encrypted(files: PairFiles) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    assert hasattr(key, "private_bytes")
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-80])


BROKEN: list[tuple[Callable[[PairFiles], object], str]] = [
    (lambda files: files.certificate.unlink(), r"^\S+cert.pem cannot be read: No such file or directory\.$"),
    (lambda files: files.key.unlink(), r"^\S+key.pem cannot be read: No such file or directory\.$"),
    (lambda files: files.certificate.write_text(""), r"^\S+cert.pem holds no certificate in PEM form\.$"),
    (lambda files: shutil.copy(files.key, files.certificate), r"^\S+cert.pem holds no certificate in PEM form\.$"),
    (lambda files: shutil.copy(files.certificate, files.key), r"^\S+key.pem holds no private key in PEM form\.$"),
    (lambda files: cut(files.certificate), r"^The certificate in \S+cert.pem cannot be read: .+\.$"),
    (lambda files: cut(files.key), r"^The key in \S+key.pem cannot be used: .+\.$"),
    (encrypted, r"^The key in \S+key.pem is encrypted; "),
]


@pytest.mark.parametrize(("spoil", "sentence"), BROKEN)
def test_what_is_wrong_with_a_file_is_one_sentence(
    files: PairFiles, spoil: Callable[[PairFiles], object], sentence: str
) -> None:
    """The sentence names the file, and nothing of what is in it."""
    spoil(files)
    with pytest.raises(PemError, match=sentence):
        read_pair(str(files.certificate), str(files.key))


def test_a_key_of_another_certificate_is_refused(files: PairFiles, made: Certificates) -> None:
    """So is a pair of which only one half was written yet."""
    files.key.write_bytes(made.authority.server(HOSTS, made.now).key)
    with pytest.raises(PemError, match=r"^The key in \S+key.pem does not belong to the certificate in \S+cert.pem\.$"):
        read_pair(str(files.certificate), str(files.key))


@pytest.mark.parametrize(
    ("make", "works"),
    [
        (lambda: rsa.generate_private_key(65_537, 2_048), True),
        (lambda: ec.generate_private_key(ec.SECP256R1()), True),
        (lambda: ec.generate_private_key(ec.SECP384R1()), True),
        (lambda: ec.generate_private_key(ec.SECP521R1()), False),
        (lambda: ec.generate_private_key(ec.SECP256K1()), False),
        (ed25519.Ed25519PrivateKey.generate, False),
    ],
)
def test_keys_with_which_no_handshake_succeeds_are_refused(
    made: Certificates, files: PairFiles, make: Callable[[], Any], *, works: bool
) -> None:
    """Whatever kind of key their authority has. gRPC itself starts with most of them."""
    key = make()
    signing: Any = serialization.load_pem_private_key(made.authority.pem.key, None)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(made.now).not_valid_after(made.now + timedelta(days=1))
    files.certificate.write_bytes(builder.sign(signing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    if works:
        read_pair(str(files.certificate), str(files.key))
    else:
        with pytest.raises(PemError, match=r"cert.pem has a key of a kind that gRPC cannot use: .*P-256 or P-384\.$"):
            read_pair(str(files.certificate), str(files.key))


def test_one_file_may_hold_both_the_key_first(made: Certificates, tmp_path: Path) -> None:
    """Also where the key's form does not say of what kind it is."""
    key = rsa.generate_private_key(65_537, 2_048)
    signing: Any = serialization.load_pem_private_key(made.authority.pem.key, None)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(made.now).not_valid_after(made.now + timedelta(days=1))
    certificate = builder.sign(signing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    both = tmp_path / "both.pem"
    both.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()) + certificate)
    assert read_pair(str(both), str(both)).certificate.endswith(certificate)


def test_a_uri_with_a_zero_byte_is_none() -> None:
    """No database would look for it, and so nobody could say what it opens."""

    class Context:
        def auth_context(self) -> dict[str, list[bytes]]:
            return {"peer_uri": [b"spiffe://example.org/\0", b"", b"spiffe://example.org/one"]}

    assert peer_certificate_uris(Context()) == ("spiffe://example.org/one",)


def test_authorities_may_be_several(made: Certificates, tmp_path: Path) -> None:
    """One after the other in a file; a file without any is refused."""
    both = tmp_path / "both.pem"
    both.write_bytes(made.ca.read_bytes() * 2)
    assert read_authorities(str(both)) == both.read_bytes()
    with pytest.raises(PemError, match="holds no certificate"):
        read_authorities(str(made.server().key))


def test_a_key_is_not_shown(files: PairFiles) -> None:
    """Wherever the pair is printed."""
    assert "PRIVATE" not in repr(read_pair(str(files.certificate), str(files.key)))


def test_files_are_read_once_a_second_at_most() -> None:
    """However many handshakes there are; what has not changed is the same object."""
    now, reads = Now(), [0]

    def read(_known: bytes | None) -> bytes:
        reads[0] += 1
        return b"%d" % (reads[0] // 3)

    watched = Watched(read, pytest.fail, now)
    first = watched.current()
    for _ in range(100):
        assert watched.current() is first
    assert reads == [1]
    now.pass_s(1)
    assert [watched.current() for _ in range(100)] == [first] * 100
    assert reads == [2]
    now.pass_s(1)
    assert watched.current() == b"1"


def test_broken_files_leave_in_use_what_was_read_before(files: PairFiles, made: Certificates) -> None:
    """A line says so once a minute, a counter each time; when they are whole again, they are taken."""
    now = Now()
    tls = ServerTls(str(files.certificate), str(files.key))
    with capture_logs() as logs:
        certificates = ServerCertificates(tls, now)
        before = certificates._files.current()
        files.certificate.write_text("half of it")
        for _ in range(COMPLAINT_INTERVAL_NS // SECOND_NS + 1):
            now.pass_s(1)
            assert certificates._files.current() is before
        assert certificates.failed_reads == 61
        assert [line["event"] for line in logs] == ["certificate_not_replaced"] * 2
        assert {line["log_level"] for line in logs} == {"error"}
        assert str(files.certificate) in logs[0]["problem"]
        files.write(made.authority.server(HOSTS, made.now))
        now.pass_s(1)
        assert certificates._files.current().pair.certificate == files.certificate.read_bytes()
    assert certificates.failed_reads == 61


def test_a_server_does_not_start_with_broken_files(files: PairFiles) -> None:
    """Its authorities are among them."""
    tls = ServerTls(str(files.certificate), str(files.key), str(files.key), "127.0.0.1:0")
    with pytest.raises(ConfigurationError, match=r"^TLS cannot be set up: \S+key.pem holds no certificate"):
        ServerCertificates(tls)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (["--tls-cert", "c"], "--tls-cert needs --tls-key"),
        (["--tls-key", "k"], "--tls-key needs --tls-cert"),
        (["--tls-cert", "c", "--tls-key", "k", "--client-ca", "a"], "--client-ca needs --mtls-listen"),
        (["--tls-cert", "c", "--tls-key", "k", "--mtls-listen", "[::1]:2"], "--mtls-listen needs --client-ca"),
        (["--client-ca", "a", "--mtls-listen", "127.0.0.1:2"], "--mtls-listen needs --tls-cert and --tls-key"),
    ],
)
def test_half_of_tls_is_refused(said: list[str], sentence: str) -> None:
    """The sentence says which other half is missing."""
    with pytest.raises(ConfigurationError, match=f"^{sentence}"):
        parse(said, {})


def test_tls_makes_a_network_safe_to_listen_on() -> None:
    """All addresses of a server have it; two purposes cannot share one."""
    tls = ["--tls-cert", "c", "--tls-key", "k"]
    pepper = ["--pepper-file", "p"]
    assert parse([*tls, *pepper, "--listen", "0.0.0.0:1"], {}).tls == ServerTls("c", "k")
    mtls = [*tls, "--client-ca", "a", "--listen", "0.0.0.0:1"]
    assert parse([*mtls, "--mtls-listen", "0.0.0.0:2"], {}).tls == ServerTls("c", "k", "a", "0.0.0.0:2")
    with pytest.raises(ConfigurationError, match=r"0\.0\.0\.0:1 is said for two purposes"):
        parse([*mtls, "--mtls-listen", "0.0.0.0:1"], {})
