"""Exported files: whole or not there, exact, and readable by other programs."""

from __future__ import annotations

import csv
import errno
import io
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow.parquet
import pytest
from typing_extensions import override

from tallygate._wire.amounts import units_text
from tallygate.export.columns import Column, Row
from tallygate.export.csv_file import CsvFile
from tallygate.export.parquet_file import GROUP_ROWS, ParquetFile
from tallygate.export.records import KINDS, PAYERS, RECORD_COLUMNS, record_row
from tallygate.export.whole_file import whole_file
from tallygate.metering.v1 import decision_pb2, receipt_pb2, request_usage_pb2, token_usage_pb2

INT64_MAX = 2**63 - 1


def record(request_id: str = "r1", cost_nanos: int = 0) -> request_usage_pb2.RequestUsage:
    """A settled request."""
    usage = token_usage_pb2.TokenUsage(input_tokens=812, reasoning_tokens=131)
    made = request_usage_pb2.RequestUsage(
        service="accounts/acme/services/chat",
        service_uid="uid",
        request_id=request_id,
        part="p",
        state=request_usage_pb2.SETTLEMENT_STATE_FINISHED,
        usage=usage,
        receipt=receipt_pb2.Receipt(usage=usage, billed=usage, price_version=1, revision=1, cost_nanos=cost_nanos),
        labels={"project": "=1+1", "b": "ü"},
        team="red",
    )
    made.start_time.FromJsonString("2026-10-01T00:00:00.000001Z")
    made.settle_time.FromJsonString("2026-10-01T00:00:01Z")
    return made


class FullDisk(io.RawIOBase):
    """A file on a disk that has room for so many bytes."""

    def __init__(self, path: Path, room: int) -> None:
        self._file = path.open("xb")
        self._room = room

    @override
    def writable(self) -> bool:
        return True

    @override
    def fileno(self) -> int:
        return self._file.fileno()

    @override
    def write(self, data: object) -> int:
        size = len(memoryview(cast("bytes", data)))
        if size > self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._room -= size
        return self._file.write(cast("bytes", data))

    @override
    def close(self) -> None:
        self._file.close()
        super().close()


@pytest.mark.parametrize("table", [CsvFile, ParquetFile])
def test_a_full_disk_leaves_no_half_file(tmp_path: Path, table: type[CsvFile | ParquetFile]) -> None:
    """Neither under the name that was asked for, where the file of before stays, nor beside it."""
    path = tmp_path / "usage"
    path.write_text("before")
    with (
        pytest.raises(OSError, match="No space left"),
        whole_file(path, lambda partial: cast("BinaryIO", FullDisk(partial, 200))) as file,
    ):
        written = table(file, RECORD_COLUMNS)
        written.write([record_row(record(f"r{number}")) for number in range(1_000)])
        written.close()
    assert [one.name for one in tmp_path.iterdir()] == ["usage"]
    assert path.read_text() == "before"


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    """Until then the name stands for nothing."""
    path = tmp_path / "usage"
    with whole_file(path) as file:
        file.write(b"all")
        assert not path.exists()
    assert path.read_bytes() == b"all"
    assert [one.name for one in tmp_path.iterdir()] == ["usage"]


def written(table: type[CsvFile | ParquetFile], pages: list[list[Row]], columns: tuple[Column, ...]) -> io.BytesIO:
    file = io.BytesIO()
    made = table(file, columns)
    for page in pages:
        made.write(page)
    made.close()
    return file


def test_parquet_has_no_floats_and_loses_nothing() -> None:
    """Nanos up to the greatest that there are come back as they were."""
    rows = [record_row(record(cost_nanos=nanos)) for nanos in (1, 2**53 + 1, INT64_MAX)]
    file = written(ParquetFile, [rows, [], rows[:1]], RECORD_COLUMNS)
    found = pyarrow.parquet.read_table(io.BytesIO(file.getvalue()))
    assert found.column("cost_nanos").to_pylist() == [1, 2**53 + 1, INT64_MAX, 1]
    assert not [field for field in found.schema if "float" in str(field.type) or "double" in str(field.type)]
    first = found.slice(0, 1).to_pylist()[0]
    assert first["start_time"].isoformat() == "2026-10-01T00:00:00.000001+00:00"
    assert dict(first["labels"]) == {"project": "=1+1", "b": "ü"}
    assert (first["billed_input_tokens"], first["billed_reasoning_tokens"], first["state"]) == (812, 131, "FINISHED")


def test_row_groups_are_written_as_rows_come() -> None:
    """Not at the end, when all of them would be in memory."""
    columns = RECORD_COLUMNS[:1]
    pages = [[("a",)] * (GROUP_ROWS // 2)] * 5
    file = written(ParquetFile, pages, columns)
    read = pyarrow.parquet.ParquetFile(io.BytesIO(file.getvalue()))
    assert read.metadata.num_row_groups == 3
    assert read.metadata.num_rows == GROUP_ROWS // 2 * 5


def test_an_empty_export_has_its_columns() -> None:
    """A customer without usage gets a table with nothing in it."""
    read = pyarrow.parquet.read_table(io.BytesIO(written(ParquetFile, [], RECORD_COLUMNS).getvalue()))
    assert (read.num_rows, read.column_names) == (0, [column.name for column in RECORD_COLUMNS])


def test_comma_separated_values_are_exact() -> None:
    """Integers as they are, times with `Z`, labels as JSON."""
    file = written(CsvFile, [[record_row(record("a,b", cost_nanos=INT64_MAX))]], RECORD_COLUMNS)
    (found,) = csv.DictReader(io.StringIO(file.getvalue().decode()))
    assert (found["request_id"], found["cost_nanos"]) == ("a,b", str(INT64_MAX))
    assert (found["start_time"], found["settle_time"]) == ("2026-10-01T00:00:00.000001Z", "2026-10-01T00:00:01.000000Z")
    assert (found["labels"], found["estimated"]) == ('{"b":"ü","project":"=1+1"}', "false")


@pytest.mark.parametrize("table", [CsvFile, ParquetFile])
def test_why_a_request_had_to_end_is_told(table: type[CsvFile | ParquetFile]) -> None:
    """By whom and when; of one that ended by itself there is no time."""
    cut, ended = record("cut"), record("ended")
    cut.cut.reason, cut.cut.budget = decision_pb2.DECISION_REASON_BUDGET_EXCEEDED, "accounts/acme/budgets/cap"
    cut.cut.cut_time.FromJsonString("2026-10-01T00:00:00.5Z")
    file = written(table, [[record_row(cut), record_row(ended)]], RECORD_COLUMNS)
    if table is CsvFile:
        rows = [
            (row["cut_reason"], row["cut_time"], row["cut_budget"])
            for row in csv.DictReader(io.StringIO(file.getvalue().decode()))
        ]
        assert rows == [("BUDGET_EXCEEDED", "2026-10-01T00:00:00.500000Z", "accounts/acme/budgets/cap"), ("", "", "")]
    else:
        read = pyarrow.parquet.read_table(io.BytesIO(file.getvalue()))
        assert read["cut_reason"].to_pylist() == ["BUDGET_EXCEEDED", ""]
        assert read["cut_time"].null_count == 1


def test_each_count_of_a_receipt_has_its_column() -> None:
    """In the order of the columns: what a payer gave of a kind is nowhere else."""
    for payer in PAYERS:
        for kind in KINDS:
            receipt = receipt_pb2.Receipt()
            setattr(getattr(receipt, payer), kind, 7)
            names = [column.name for column in RECORD_COLUMNS]
            row = dict(zip(names, record_row(request_usage_pb2.RequestUsage(receipt=receipt)), strict=True))
            assert [name for name, value in row.items() if value == 7] == [f"{payer}_{kind}"]


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "0.00"), (12_500_000_000, "12.50"), (-812, "-0.000000812"), (INT64_MAX, "9223372036.854775807")],
)
def test_units_are_exact(nanos: int, text: str) -> None:
    """All decimals that there are, at least two, and no exponent."""
    assert units_text(nanos) == text
