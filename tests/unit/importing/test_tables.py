"""Tables out of files: exports as databases write them, and SQLite's own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from tallygate.importing.tables import UnreadableTablesError, read_tables
from tallygate.importing.values import UnreadableValueError, decimal, moment_s, texts, truth, whole


def test_exports_are_read_as_they_are_written(tmp_path: Path) -> None:
    """CSV as of PostgreSQL's COPY, JSON as a list, JSON by line; amounts to the last digit."""
    (tmp_path / "keys.csv").write_text('token,models,max_budget\r\na,"{x,""y z""}",0.1\r\n')
    (tmp_path / "teams.json").write_text('[{"id": "t", "max_budget": 0.1}]')
    (tmp_path / "users.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    tables = read_tables(str(tmp_path), "keys", ["teams", "users", "absent"])
    (key,) = tables["keys"]
    assert texts(key, "models") == ["x", "y z"]
    assert decimal(key, "max_budget") == decimal(tables["teams"][0], "max_budget") == Decimal("0.1")
    assert [row["id"] for row in tables["users"]] == [1, 2]
    assert "absent" not in tables


def test_a_file_of_sqlite_is_only_read(tmp_path: Path) -> None:
    """Tables that are not there are left out."""
    path = tmp_path / "one-api.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute('CREATE TABLE tokens (id INTEGER, "group" TEXT)')
        connection.execute("INSERT INTO tokens VALUES (1, 'vip')")
        connection.commit()
    before = path.read_bytes()
    tables = read_tables(str(path), "tokens", ["users"])
    assert [dict(row) for row in tables["tokens"]] == [{"id": 1, "group": "vip"}]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent", None, "cannot be read: No such file or directory."),
        ("plain.txt", "hello", "neither a file of SQLite's nor a folder"),
    ],
)
def test_what_is_no_source_is_said(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    """In a sentence."""
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UnreadableTablesError, match=said):
        read_tables(str(tmp_path / name), "tokens", [])
    with pytest.raises(UnreadableTablesError, match="no table tokens"):
        read_tables(str(tmp_path), "tokens", [])


def test_a_database_that_is_away_is_said_without_its_password() -> None:
    """With its address."""
    with pytest.raises(UnreadableTablesError, match=r"127\.0\.0\.1:1 cannot be read") as said:
        read_tables("postgresql://u:secret@127.0.0.1:1/litellm?schema=public&connection_limit=5", "tokens", [])
    assert "secret" not in str(said.value)


@pytest.mark.parametrize("sign", ["/", "?", "#", "["])
@pytest.mark.parametrize("password", ["secret", "12345"])
def test_a_password_that_breaks_its_url_is_not_shown(password: str, sign: str) -> None:
    """Not even a part of it, which would pass for a port."""
    with pytest.raises(UnreadableTablesError, match="PGPASSWORD") as said:
        read_tables(f"postgresql://u:{password}{sign}more@127.0.0.1:1/litellm", "tokens", [])
    assert password not in str(said.value)


def test_cells_are_what_their_columns_say() -> None:
    """Or refused, without being repeated."""
    row = {"n": "7", "b": "t", "m": "2026-01-02 03:04:05", "z": "2026-01-02T03:04:05+00:00", "l": '["a"]', "bad": "x"}
    assert (whole(row, "n"), truth(row, "b"), texts(row, "l")) == (7, True, ["a"])
    assert moment_s(row, "m") == moment_s(row, "z") == 1_767_323_045
    for read in (whole, truth, moment_s, decimal):
        with pytest.raises(UnreadableValueError, match=r"^bad is not"):
            read(row, "bad")
