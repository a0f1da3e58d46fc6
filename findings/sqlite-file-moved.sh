#!/bin/sh
# SQLite 3.53.4 (as apsw 3.53.4.0 brings it), a database whose file is moved or deleted while a connection is open:
#   - in WAL mode, with synchronous FULL, COMMIT goes on to succeed, and what it wrote can be read by that connection;
#     at the path there is nothing, and a new connection makes an empty database there;
#   - with a rollback journal the first write fails with SQLITE_READONLY_DBMOVED;
#   - SQLITE_FCNTL_HAS_MOVED tells that the file was moved in both modes, but nothing of a deleted write-ahead log:
#     then COMMIT succeeds, too.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.53.4.0
cat > "$folder/look.py" <<'PYTHON'
import ctypes
import os
import sys

import apsw

DBMOVED = apsw.SQLITE_READONLY_DBMOVED


def opened(path, mode):
    connection = apsw.Connection(path)
    for statement in (f"PRAGMA journal_mode = {mode}", "PRAGMA synchronous = FULL", "CREATE TABLE lines (number)"):
        connection.execute(statement).fetchall()
    return connection


def write(connection):
    """The extended code of the failure, or how many rows this connection then sees."""
    try:
        for statement in ("BEGIN IMMEDIATE", "INSERT INTO lines VALUES (1)", "COMMIT"):
            connection.execute(statement)
    except apsw.Error as error:
        return error.extendedresult
    return connection.execute("SELECT count(*) FROM lines").fetchone()[0]


def has_moved(connection):
    moved = ctypes.c_int()
    assert connection.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, ctypes.addressof(moved))
    return bool(moved.value)


def harm(path, what):
    if what == "moved":
        os.rename(path, path + ".away")
    elif what == "deleted":
        os.unlink(path)
    else:
        os.unlink(path + "-wal")


print("SQLite", apsw.sqlite_lib_version())
is_so = apsw.sqlite_lib_version() == "3.53.4"
for mode, what, written, moved in (
    ("WAL", "moved", 1, True),
    ("WAL", "deleted", 1, True),
    ("WAL", "log deleted", 1, False),
    ("DELETE", "moved", DBMOVED, True),
    ("DELETE", "deleted", DBMOVED, True),
):
    path = os.path.join(sys.argv[1], f"{mode}-{what}.sqlite3".replace(" ", "-"))
    connection = opened(path, mode)
    harm(path, what)
    seen = (write(connection), has_moved(connection))
    found = {DBMOVED: "SQLITE_READONLY_DBMOVED", 1: "committed, and sees its row"}.get(seen[0], seen[0])
    print(f"{mode:7} {what:12} write: {found}; has moved: {seen[1]}")
    is_so = is_so and seen == (written, moved)
    if mode == "WAL" and what != "log deleted":
        tables = apsw.Connection(path).execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        print(f"{'':20} a new connection finds {tables} tables at the path")
        is_so = is_so and tables == 0
sys.exit(0 if is_so else "It is not so any more.")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
