"""Hosts of one's own: network namespaces behind a router, which can drop without a word what passes between two.

Needs Linux, root, and Debian's package iproute2. Nothing leaves the namespaces, and nothing enters.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
"""Flag of `setns` for a network namespace."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host with an address of its own."""

    name: str
    address: str

    def command(self, user: str | None = None) -> tuple[str, ...]:
        """Words before a command that is to run on it, as this user."""
        return ("ip", "netns", "exec", self.name, *(("runuser", "-u", user, "--") if user else ()))


@dataclass(frozen=True, slots=True)
class Network:
    """Hosts that reach each other by a router."""

    router: str
    hosts: Sequence[Host]

    def cut(self, one: Host, other: Host) -> None:
        """Drop what passes between them from now on: nothing tells either of them, as nothing tells of a dead cable."""
        for rule in _rules(one, other):
            _ip("-n", self.router, "rule", "add", *rule)

    def heal(self, one: Host, other: Host) -> None:
        """Let it pass again."""
        for rule in _rules(one, other):
            _ip("-n", self.router, "rule", "del", *rule)


def _rules(one: Host, other: Host) -> Sequence[Sequence[str]]:
    pairs = (one, other), (other, one)
    return [("from", source.address, "to", target.address, "blackhole") for source, target in pairs]


def why_no_hosts() -> str:
    """Why there can be none here, in a sentence; empty where there can."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "runuser"))):
        return "network namespaces need root, and Debian's package iproute2"
    try:
        with network("host"):
            return ""
    except subprocess.CalledProcessError as error:
        return f"this machine has no network namespaces: {error.stderr.strip()}"


@contextmanager
def network(*names: str) -> Iterator[Network]:
    """A network of hosts of these names."""
    prefix = f"tallygate-{os.getpid()}"
    router = f"{prefix}-router"
    hosts = [Host(f"{prefix}-{name}", f"10.83.{number}.2") for number, name in enumerate(names, 1)]
    try:
        _ip("netns", "add", router)
        _ip("netns", "exec", router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        for number, host in enumerate(hosts, 1):
            _connect(host, router, f"host{number}", f"10.83.{number}.1")
        yield Network(router, hosts)
    finally:
        for name in (router, *(host.name for host in hosts)):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", name)


def _connect(host: Host, router: str, port: str, gateway: str) -> None:
    """A wire between them, and an address at each end."""
    _ip("netns", "add", host.name)
    _ip("-n", router, "link", "add", "name", port, "type", "veth", "peer", "name", "eth0", "netns", host.name)
    for where, device, address in ((router, port, gateway), (host.name, "eth0", host.address)):
        _ip("-n", where, "address", "add", f"{address}/24", "dev", device)
        _ip("-n", where, "link", "set", device, "up")
    _ip("-n", host.name, "link", "set", "lo", "up")
    _ip("-n", host.name, "route", "add", "default", "via", gateway)


def move_to(host: Host) -> None:
    """Move this program to a host, with all that it opens from now on."""
    with (_NAMESPACES / host.name).open() as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot move to {host.name}")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
