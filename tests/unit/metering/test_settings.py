"""What the metering service is told: refused in a sentence before anything is started."""

import pytest

from metering_service.settings import common_options, parse
from tallygate._server.errors import ConfigurationError


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_network_is_refused_by_the_address_that_was_said(workers: str) -> None:
    """Not by those that workers would have."""
    with pytest.raises(ConfigurationError, match=r'^Refusing to listen on "0\.0\.0\.0:7499" without TLS'):
        parse(["--listen", "0.0.0.0:7499", "--workers", workers], {})
    assert parse(["--listen", "0.0.0.0:7499", "--workers", workers, "--insecure"], {}).listen == "0.0.0.0:7499"


def test_each_worker_needs_a_port() -> None:
    """The last one's is 65535 at most; where the system chooses, it finds some."""
    with pytest.raises(ConfigurationError, match=r"^--listen 127\.0\.0\.1:65534 leaves no ports.*up to 65533\.$"):
        parse(["--listen", "127.0.0.1:65534", "--workers", "2"], {})
    for listen, workers in (("127.0.0.1:65533", "2"), ("127.0.0.1:65535", "1"), ("127.0.0.1:0", "256")):
        assert parse(["--listen", listen, "--workers", workers], {}).listen == listen


def test_workers_need_ports_for_callers_with_certificates_too() -> None:
    """Those of the two addresses must not run into each other."""
    tls = ["--tls-cert", "c", "--tls-key", "k", "--client-ca", "a", "--workers", "4", "--mtls-listen"]
    with pytest.raises(ConfigurationError, match=r"^--mtls-listen 127\.0\.0\.1:65532 leaves no ports.*up to 65531\.$"):
        parse([*tls, "127.0.0.1:65532"], {})
    for port in (7398, 7406):
        with pytest.raises(ConfigurationError, match=r"leave too few ports between them.*more than 4 apart"):
            parse([*tls, f"127.0.0.1:{port}"], {})
    for port in (0, 7397, 7407):
        parse([*tls, f"127.0.0.1:{port}"], {})


@pytest.mark.parametrize(("letters", "workers"), [(63, "1"), (61, "9"), (60, "10")])
def test_each_worker_needs_a_name(letters: int, workers: str) -> None:
    """With its number it is 63 letters at most."""
    parse(["--node-name", "a" * letters, "--workers", workers], {})
    with pytest.raises(ConfigurationError, match=rf'^The node name "a+" is .*{letters}'):
        parse(["--node-name", "a" * (letters + 1), "--workers", workers], {})


def test_a_node_asks_for_proof_where_anything_of_it_is_configured() -> None:
    """By an option of its own, an authority of callers' certificates, or a token for control; and its workers do, too.

    With none of them, nobody is asked.
    """
    tls = ["--tls-cert", "c", "--tls-key", "k", "--client-ca", "a", "--mtls-listen", "127.0.0.1:0"]
    assert not parse([], {}).auth
    for arguments, variables in (
        (["--auth"], {}),
        ([], {"TALLYGATE_AUTH": "1"}),
        (["--control-token-file", "t"], {}),
        (tls, {}),
    ):
        settings = parse(arguments, variables)
        assert settings.auth
        assert "--auth" in common_options(settings)


def test_a_network_is_refused_without_proof() -> None:
    """TLS alone lets everybody on the network report; the sentence says what helps."""
    tls = ["--tls-cert", "c", "--tls-key", "k", "--listen", "0.0.0.0:7499"]
    with pytest.raises(ConfigurationError, match=r'"0\.0\.0\.0:7499" without asking callers who they are.*--auth or'):
        parse(tls, {})
    assert parse([*tls, "--auth"], {}).auth
    assert not parse([*tls, "--insecure"], {}).auth
