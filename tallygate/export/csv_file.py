"""Tables as comma-separated values: a header, times in ISO 8601 with `Z`, tags as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

from tallygate.export.columns import US_PER_S, Column, Kind, Row


class CsvFile:
    """Writes rows to a binary file."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._writer = csv.writer(self._text, lineterminator="\n")
        self._writer.writerow(column.name for column in columns)
        self._written = [
            (index, _WRITTEN[column.kind]) for index, column in enumerate(columns) if column.kind in _WRITTEN
        ]

    def write(self, rows: Iterable[Row]) -> None:
        """Writes a page of rows."""
        self._writer.writerows(self._texts(row) for row in rows)

    def close(self) -> None:
        """Ends the table; the file itself stays open."""
        self._text.flush()
        self._text.detach()

    def _texts(self, row: Row) -> list[Any]:
        values = list(row)
        for index, written in self._written:
            values[index] = written(values[index])
        return values


def time_text(moment_us: int | None) -> str:
    """A moment as `2026-10-01T12:00:00.000001Z`; empty where there is none."""
    if moment_us is None:
        return ""
    whole = datetime.fromtimestamp(moment_us // US_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{moment_us % US_PER_S:06d}Z"


def _tags_text(tags: dict[str, str]) -> str:
    return json.dumps(tags, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


_WRITTEN: Final[dict[Kind, Callable[[Any], str]]] = {
    Kind.TIME: time_text,
    Kind.TAGS: _tags_text,
    Kind.FLAG: lambda flag: "true" if flag else "false",
}
"""How values are written that are neither texts nor numbers."""
