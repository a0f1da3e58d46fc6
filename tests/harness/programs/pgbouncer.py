"""The real PgBouncer in front of a database, with Debian's settings but for its mode."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tallygate._server.database.postgres_url import places_of
from tests.harness.patience import PATIENCE_S
from tests.harness.ports import held_port


@dataclass(eq=False)
class PgBouncer:
    """A running one; started again, it has its old port."""

    binary: str
    ini: Path
    port: int
    user: str
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """Of a database behind it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        drop_root = ["-u", self.user] if os.geteuid() == 0 else []
        with self.ini.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen([self.binary, *drop_root, str(self.ini)], stdout=log, stderr=log)  # noqa: ASYNC220
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except ConnectionError:
                    assert self.process.poll() is None, self.ini.with_suffix(".log").read_text()
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return

    async def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)


@asynccontextmanager
async def pgbouncer(server_url: str, mode: str, directory: Path) -> AsyncIterator[PgBouncer]:
    """One in front of all databases of that server. Skips the test where the program is not installed."""
    binary = os.environ.get("TALLYGATE_TEST_PGBOUNCER") or shutil.which(
        "pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin"
    )
    if binary is None:
        pytest.skip("There is no PgBouncer on this machine; `apt install pgbouncer` brings it.")
    url = make_url(server_url)
    ((host, port),) = places_of(url)
    own_port = held_port()
    ini = directory / f"pgbouncer-{own_port}.ini"
    ini.write_text(
        f"[databases]\n* = host={host} port={port or 5432} user={url.username or 'postgres'}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {own_port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {mode}\ndefault_pool_size = 20\n"
    )
    # Only PostgreSQL's own user may open a socket in its directory.
    user = await asyncio.to_thread(Path(host).owner) if host.startswith("/") else "nobody"
    running = PgBouncer(binary, ini, own_port, user)
    try:
        await running.start()
        yield running
    finally:
        await running.kill()
