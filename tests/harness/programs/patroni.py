"""A real Patroni: etcd, and two PostgreSQL servers of which it makes one the leader and the other its stand-by."""

import asyncio
import json
import os
import shutil
import signal
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.harness.ports import held_port
from tests.harness.programs.postgres_cluster import USER

PATIENCE_S = 120
TTL_S = 20
"""Time after which a leader that says nothing is replaced; Patroni allows no shorter one."""


@dataclass(eq=False)
class Member:
    """One server with its Patroni."""

    name: str
    folder: Path
    port: int
    rest_port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def place(self) -> str:
        """Its host and port, for URLs of several."""
        return f"127.0.0.1:{self.port}"

    @property
    def settings_file(self) -> Path:
        """What it is started with."""
        return self.folder / "patroni.json"

    def write_settings(self, etcd_port: int, binaries: Path) -> None:
        """A synchronous cluster of two, with Patroni's shortest times."""
        here = "127.0.0.1/32"
        dcs: dict[str, Any] = {"ttl": TTL_S, "loop_wait": 1, "retry_timeout": 3, "synchronous_mode": True}
        dcs["postgresql"] = {"use_pg_rewind": True, "parameters": {"wal_log_hints": "on", "fsync": "off"}}
        settings = {
            "scope": "drill",
            "name": self.name,
            "restapi": {"listen": f"127.0.0.1:{self.rest_port}", "connect_address": f"127.0.0.1:{self.rest_port}"},
            "etcd3": {"host": f"127.0.0.1:{etcd_port}"},
            "bootstrap": {
                "dcs": dcs,
                "initdb": [{"encoding": "UTF8"}, {"auth": "trust"}, "no-sync"],
                "pg_hba": [f"host all all {here} trust", f"host replication all {here} trust", "local all all trust"],
            },
            "postgresql": {
                "listen": self.place,
                "connect_address": self.place,
                "data_dir": str(self.folder / "data"),
                "bin_dir": str(binaries),
                "pgpass": str(self.folder / "pgpass"),
                "authentication": {role: {"username": "postgres"} for role in ("superuser", "replication", "rewind")},
                "parameters": {"unix_socket_directories": str(self.folder)},
            },
        }
        self.settings_file.write_text(json.dumps(settings))

    async def start(self) -> None:
        """Start Patroni, which starts its server."""
        self.process = await _started(self.folder / "log", "patroni", str(self.settings_file))

    async def kill(self) -> None:
        """Patroni and its server, as a crash of their machine would."""
        if self.process is None or self.process.returncode is not None:
            return
        patroni = psutil.Process(self.process.pid)
        processes = [patroni, *patroni.children(recursive=True), *_servers_in(self.folder / "data")]
        for process in processes:
            if process.is_running():
                process.send_signal(signal.SIGKILL)
        await self.process.wait()


@dataclass(eq=False)
class Patroni:
    """The cluster."""

    members: list[Member]

    def url(self, database: str = "postgres") -> str:
        """One URL that names both servers."""
        return f"postgresql://postgres@{','.join(member.place for member in self.members)}/{database}"

    async def leader(self) -> Member:
        """The member that leads now, once the other one follows in step."""
        return await self._member(lambda roles: "sync_standby" in roles.values())

    async def next_leader(self, before: Member) -> Member:
        """The member that leads once the one before does no longer."""
        return await self._member(lambda roles: roles.get(before.name) != "leader")

    async def switch_over(self, leader: Member) -> None:
        """Let the other one lead, as an operator does."""
        command = ("patronictl", "-c", str(leader.settings_file), "switchover", "--force", "drill")
        process = await _started(leader.folder / "switchover", *command)
        assert await process.wait() == 0, (leader.folder / "switchover").read_text()

    async def _member(self, condition: Callable[[dict[str, str]], bool]) -> Member:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for asked in self.members:
                    roles = await asyncio.to_thread(_roles, asked.rest_port)
                    found = [member for member in self.members if roles.get(member.name) == "leader"]
                    if found and condition(roles):
                        return found[0]
                await asyncio.sleep(0.1)


@asynccontextmanager
async def patroni_cluster(directory: Path) -> AsyncIterator[Patroni]:
    """One of two members, with a leader. `directory`: open to the user that PostgreSQL runs as."""
    for program in ("patroni", "patronictl", "etcd"):
        if shutil.which(program) is None:
            raise SystemExit(f"There is no {program} on this machine; `apt install patroni etcd-server` brings it.")
    binaries = await asyncio.to_thread(_debian_binaries)
    etcd_port, peer_port = held_port(), held_port()
    members = [Member(name, directory / name, held_port(), held_port()) for name in ("member-1", "member-2")]
    for folder in (directory / "etcd", *(member.folder for member in members)):
        folder.mkdir()
        if USER is not None:
            shutil.chown(folder, USER)
    shutil.chown(directory, USER or os.geteuid())
    at, peer = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
    etcd = await _started(
        directory / "etcd" / "log",
        *("etcd", "--data-dir", str(directory / "etcd" / "data"), "--listen-client-urls", at),
        *("--advertise-client-urls", at, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", f"default={peer}"),
    )
    cluster = Patroni(members)
    try:
        for member in members:
            member.write_settings(etcd_port, binaries)
            await member.start()
        await cluster.leader()
        yield cluster
    finally:
        for member in members:
            await member.kill()
        etcd.kill()
        await etcd.wait()


def _debian_binaries() -> Path:
    """Where the newest PostgreSQL is that Debian has installed: its Patroni knows no newer one."""
    return max(Path("/usr/lib/postgresql").glob("*/bin"))


def _roles(rest_port: int) -> dict[str, str]:
    """The role of each member, as this one's Patroni knows it; empty where it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{rest_port}/cluster", timeout=2) as answer:
            found: dict[str, Any] = json.load(answer)
    except OSError:
        return {}
    return {member["name"]: member["role"] for member in found["members"]}


def _servers_in(data: Path) -> list[psutil.Process]:
    """The server's processes: it goes on where its Patroni is killed."""
    try:
        server = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        return [server, *server.children()]
    except (OSError, psutil.NoSuchProcess):
        return []


async def _started(log: Path, *command: str) -> asyncio.subprocess.Process:
    with log.open("ab") as said:
        return await asyncio.create_subprocess_exec(
            *command, user=USER, stdin=asyncio.subprocess.DEVNULL, stdout=said, stderr=said, cwd="/"
        )
