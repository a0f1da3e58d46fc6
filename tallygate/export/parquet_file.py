"""Tables as Parquet: numbers of 64 bits, times in microseconds of UTC, tags as maps; nothing is a float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tallygate.export.columns import Column, Kind, Row

GROUP_ROWS: Final = 64_000
"""Number of rows of a row group, at least: so many are in memory at a time."""

_TYPES: Final = {
    Kind.TEXT: pa.string(),
    Kind.NUMBER: pa.int64(),
    Kind.FLAG: pa.bool_(),
    Kind.TIME: pa.timestamp("us", tz="UTC"),
    Kind.TAGS: pa.map_(pa.string(), pa.string()),
}


class ParquetFile:
    """Writes rows to a binary file, a row group when enough have come."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._schema = pa.schema([pa.field(column.name, _TYPES[column.kind]) for column in columns])
        self._tags = [index for index, column in enumerate(columns) if column.kind is Kind.TAGS]
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._batches: list[pa.RecordBatch] = []
        self._row_count = 0

    def write(self, rows: Sequence[Row]) -> None:
        """Takes a page of rows."""
        if not rows:
            return
        values: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for index in self._tags:
            values[index] = [list(tags.items()) for tags in values[index]]
        arrays = [pa.array(column, field.type) for column, field in zip(values, self._schema, strict=True)]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._row_count += len(rows)
        if self._row_count >= GROUP_ROWS:
            self._write_group()

    def close(self) -> None:
        """Writes the rest, and the footer by which readers know the file."""
        if self._batches:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._batches, self._schema), row_group_size=self._row_count)
        self._batches, self._row_count = [], 0
