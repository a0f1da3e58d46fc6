"""`tallygate tls`: certificates for a fleet that has no authority of its own."""

from __future__ import annotations

import ipaddress
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from tallygate._wire.names import ACCOUNT_ID, NODE_ID
from tallygate.cli.certificates import ISSUED_DAYS, Authority, Issued
from tallygate.cli.console import out
from tallygate.cli.rpc import fail

HOSTS: Final = ("localhost", "127.0.0.1", "::1")
"""Names and addresses of this machine, which every server's certificate has."""
TRUST_DOMAIN: Final = "tallygate.internal"
_CA: Final = "ca"
_HOST: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")
_EVERY_ACCOUNT: Final = "*"

app = typer.Typer(help="Certificates: an authority of one's own, and what it issues.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Where the authority is kept, with what it issued.")]
Hosts = Annotated[
    list[str] | None, typer.Option("--host", metavar="NAME", help="A name or address of a server; repeatable.")
]
Nodes = Annotated[
    list[str] | None,
    typer.Option("--node", metavar="NAME", help="A metering node, or name-* for its workers; repeatable."),
]
Meters = Annotated[
    list[str] | None,
    typer.Option("--meter", metavar="ACCOUNT", help="Inference servers of an account, * for all; repeatable."),
]
Domain = Annotated[str, typer.Option("--trust-domain", metavar="NAME", help="Of the names in callers' certificates.")]
Days = Annotated[int, typer.Option("--days", help="How long certificates are valid.", min=1, max=3_650)]


@app.command()
def init(
    folder: Folder,
    *,
    host: Hosts = None,
    node: Nodes = None,
    meter: Meters = None,
    trust_domain: Domain = TRUST_DOMAIN,
    days: Days = ISSUED_DAYS,
) -> None:
    """Makes an authority, and certificates for a server, a node and inference servers."""
    now = datetime.now(UTC)
    authority = Authority.make("Tallygate", now)
    wanted = _Wanted(authority, now, days, trust_domain)
    wanted.server(host or [])
    wanted.callers(node or ["metering-1"], meter or [_EVERY_ACCOUNT])
    _write(folder, {_CA: authority.pem, **wanted.issued})
    _say(folder, [_CA, *wanted.issued])
    out.print(f"The control service believes callers' certificates with --trust-domain {trust_domain}.", markup=False)


@app.command()
def issue(
    folder: Folder,
    *,
    host: Hosts = None,
    node: Nodes = None,
    meter: Meters = None,
    trust_domain: Domain = TRUST_DOMAIN,
    days: Days = ISSUED_DAYS,
) -> None:
    """Makes further certificates: one for a server of all --host, one for each --node and each --meter."""
    try:
        authority = Authority.read(Issued(*(path.read_bytes() for path in _paths(folder, _CA))))
    except OSError as error:
        fail(f"{error.filename} cannot be read: {error.strerror}; `tallygate tls init` makes an authority")
    except (ValueError, TypeError):
        fail(f"{folder} holds no authority that can be used: {_CA}.pem and {_CA}-key.pem do not belong together")
    wanted = _Wanted(authority, datetime.now(UTC), days, trust_domain)
    if host:
        wanted.server(host, name=f"server-{_file_part(host[0])}")
    wanted.callers(node or [], meter or [])
    if not wanted.issued:
        fail("nothing to issue: say --host, --node or --meter")
    _write(folder, wanted.issued)
    _say(folder, list(wanted.issued))


class _Wanted:
    """What a command issues, by the names of the files."""

    def __init__(self, authority: Authority, now: datetime, days: int, trust_domain: str) -> None:
        if not _DOMAIN.fullmatch(trust_domain):
            fail(f"{trust_domain} is no trust domain: use lower-case letters, digits, dots and hyphens")
        self._authority = authority
        self._now = now
        self._valid_for = timedelta(days=days)
        self._root = f"spiffe://{trust_domain}/tallygate"
        self.issued: dict[str, Issued] = {}

    def server(self, hosts: list[str], name: str = "server") -> None:
        for host in hosts:
            if not _HOST.fullmatch(host) and not _is_ip_address(host):
                fail(f"{host} is no name or address of a server")
        self.issued[name] = self._authority.server([*hosts, *HOSTS], self._now, self._valid_for)

    def callers(self, nodes: list[str], meters: list[str]) -> None:
        for node in nodes:
            if not re.fullmatch(rf"{NODE_ID}\*?", node):
                fail(f"{node} is no name of a node: use lower-case letters, digits and hyphens, and * at the end")
            self._client(f"node-{node.replace('*', 'all')}", f"node/{node}")
        for account in meters:
            short = account.removeprefix("accounts/")
            if short != _EVERY_ACCOUNT and not re.fullmatch(ACCOUNT_ID, short):
                fail(f"{account} is no account: write its name, such as acme, or * for all")
            self._client("meter" if short == _EVERY_ACCOUNT else f"meter-{short}", f"meter/{short}")

    def _client(self, name: str, path: str) -> None:
        self.issued[name] = self._authority.client(f"{self._root}/{path}", self._now, self._valid_for)


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _file_part(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", host)


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.pem", folder / f"{name}-key.pem"


def _write(folder: Path, issued: dict[str, Issued]) -> None:
    """All files, or none: what is there is never replaced, and keys are their owner's alone."""
    for name in issued:
        for path in _paths(folder, name):
            if path.exists():
                fail(f"{path} exists already, and is not overwritten: name another folder, or move the file away")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, pem in issued.items():
            certificate, key = _paths(folder, name)
            _write_new(key, pem.key, 0o600)
            _write_new(certificate, pem.certificate, 0o644)
    except OSError as error:
        fail(f"{error.filename or folder} cannot be written: {error.strerror}")


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def _say(folder: Path, names: list[str]) -> None:
    for name in names:
        out.print(" ".join(str(path) for path in _paths(folder, name)), markup=False)
