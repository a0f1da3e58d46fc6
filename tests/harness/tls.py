"""Certificates for tests, as files; made by what `tallygate tls` makes them with."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc

from tallygate._server.grpc.tls import ServerTls
from tallygate.cli.certificates import Authority, Issued

HOSTS = ("localhost", "127.0.0.1", "::1")
NODE_URI = "spiffe://example.org/tallygate/node/metering-1"
METER_URI = "spiffe://example.org/tallygate/meter/*"


@dataclass(frozen=True)
class PairFiles:
    certificate: Path
    key: Path

    def write(self, issued: Issued) -> None:
        """Replaces both; each at once, as deployments do."""
        for path, content in ((self.certificate, issued.certificate), (self.key, issued.key)):
            beside = path.with_suffix(".new")
            beside.write_bytes(content)
            beside.rename(path)


class Certificates:
    """An authority, and what it issued, in a folder."""

    def __init__(self, folder: Path, name: str = "the authority") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.now = datetime.now(UTC)
        self.authority = Authority.make(name, self.now)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.authority.pem.certificate)

    def server(self, name: str = "server", hosts: tuple[str, ...] = HOSTS) -> PairFiles:
        return self._write(name, self.authority.server(hosts, self.now))

    def expired_server(self) -> PairFiles:
        issued = self.authority.server(HOSTS, self.now - timedelta(days=3), timedelta(days=2))
        return self._write("expired", issued)

    def client(self, uri: str = NODE_URI, name: str = "client") -> PairFiles:
        return self._write(name, self.authority.client(uri, self.now))

    def server_tls(self, *, mtls: bool = False, pair: PairFiles | None = None) -> ServerTls:
        """TLS at the server's own address; with `mtls`, also a free port for callers with certificates."""
        files = pair or self.server()
        further = {"client_ca_file": str(self.ca), "mtls_listen": "127.0.0.1:0"} if mtls else {}
        return ServerTls(str(files.certificate), str(files.key), **further)

    def credentials(self, client: PairFiles | None = None) -> grpc.ChannelCredentials:
        """Those of a caller that trusts this authority, and shows this certificate."""
        key, certificate = (client.key.read_bytes(), client.certificate.read_bytes()) if client else (None, None)
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), key, certificate)

    def _write(self, name: str, issued: Issued) -> PairFiles:
        files = PairFiles(self.folder / f"{name}.pem", self.folder / f"{name}-key.pem")
        files.write(issued)
        return files
