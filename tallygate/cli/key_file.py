"""Files with secrets of API keys that are brought along, or with hashes of them."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import Final

from tallygate._unreadable import why_unreadable
from tallygate.cli.rpc import fail
from tallygate.control.v1 import api_key_pb2, key_service_pb2

IMPORT_MAX: Final = 1_000
"""Maximum number of keys in one call."""
_NEEDED: Final = {"key", "sha256"}
_COLUMNS: Final = _NEEDED | {"team", "owner", "display_name"}
_SHA256: Final = re.compile("[0-9a-fA-F]{64}")


def read_secret(path: str) -> str:
    """The secret in a file, or on stdin where the path is `-`."""
    try:
        return (sys.stdin.read() if path == "-" else Path(path).read_text()).strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path} cannot be read: {why_unreadable(error)}; give a file with the secret alone")


def read_keys(account: str, path: str) -> list[key_service_pb2.ImportedKey]:
    """The keys in a CSV file; ends the command with the first line that is wrong, before anything is sent."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            columns = set(rows.fieldnames or ())
            if not _NEEDED <= columns <= _COLUMNS:
                fail(f"{path} has the columns {sorted(columns)}; give key and sha256, and team, owner, display_name")
            return [_key(account, row, f"{path}, line {rows.line_num}") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        fail(f"{path} cannot be read: {why_unreadable(error)}; give a CSV file")


def _key(account: str, row: dict[str, str], where: str) -> key_service_pb2.ImportedKey:
    if None in row or None in row.values():
        fail(f"{where}: has another number of cells than the head; correct the file, nothing was sent")
    if _SHA256.fullmatch(row["sha256"]) is None:
        fail(f"{where}: sha256 is no SHA-256 in hexadecimal; correct the file, nothing was sent")
    return key_service_pb2.ImportedKey(
        name=f"{account}/keys/{row['key']}",
        secret_sha256=bytes.fromhex(row["sha256"]),
        team=row.get("team", ""),
        owner=row.get("owner", ""),
        display_name=row.get("display_name", ""),
        scope=api_key_pb2.KeyScope(all_services=True, all_models=True),
    )
