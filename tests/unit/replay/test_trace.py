"""Reading traces: the whole file is right, or one sentence says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallygate.replay.synthetic import synthesize
from tallygate.replay.trace import Trace, TraceError, read_trace
from tallygate.replay.trace_formats import AZURE_HEADER as HEADER

FIRST = "2023-11-16 18:17:03.9799600,4808,10"


def write(path: Path, *lines: str, end: str = "\n", last_end: bool = True) -> Path:
    """Writes a trace."""
    text = end.join(lines) + (end if last_end else "")
    path.write_text(text, newline="")
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last_end", [True, False])
def test_a_trace_is_read_whatever_its_line_ends(tmp_path: Path, end: str, last_end: bool) -> None:
    """Line ends of either kind are fine, and the last may be missing."""
    path = write(tmp_path / "t.csv", HEADER, FIRST, "2023-11-16 18:17:04.0319600,3180,8", end=end, last_end=last_end)

    rows = list(read_trace(path).rows())
    assert [(row.offset_us, row.context_tokens, row.generated_tokens) for row in rows] == [
        (0, 4808, 10),
        (52_000, 3180, 8),
    ]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("2023-11-16 18:17:05,12", "line 3 has 2 fields"),
        ("2023-11-16 18:17:05,12,1,1", "line 3 has 4 fields"),
        ("", "line 3 is empty, and others follow"),
        ("yesterday,12,1", "line 3 has the TIMESTAMP 'yesterday'"),
        ("2023-11-31 18:17:05,12,1", "line 3 has the TIMESTAMP"),
        ("2023-11-16 18:17:05,-12,1", "line 3 has ContextTokens '-12'"),
        ("2023-11-16 18:17:05,12,1.5", "line 3 has GeneratedTokens '1.5'"),
        ("2023-11-16 18:17:05,12,99999999999", "line 3 has GeneratedTokens '99999999999'"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, what: str) -> None:
    """The error says the file, the line's number and what is wrong with it."""
    path = write(tmp_path / "t.csv", HEADER, FIRST, line, FIRST)

    with pytest.raises(TraceError) as error:
        read_trace(path)
    assert str(error.value).startswith(f"{path}: {what}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_trace_is_refused(tmp_path: Path) -> None:
    """A wrong header, an empty trace and a missing file each have their sentence."""
    with pytest.raises(TraceError, match="line 1 must be"):
        read_trace(write(tmp_path / "a.csv", "a,b,c"))
    with pytest.raises(TraceError, match="no requests"):
        read_trace(write(tmp_path / "b.csv", HEADER))
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "c.csv")


def test_servers_share_a_trace_between_them() -> None:
    """Every row belongs to exactly one of K servers."""
    trace = Trace()
    for number in range(10):
        trace.append(number, number, number)

    shares = [[row.index for row in trace.rows(number, 3)] for number in range(3)]
    assert sorted(index for share in shares for index in share) == list(range(10))


def test_a_part_of_a_trace_begins_at_once() -> None:
    """The first request of a part comes without delay."""
    part = synthesize(100, seed=1, requests_per_second=10).part(40, 60)

    assert len(part) == 20
    assert next(part.rows()).offset_us == 0


def test_the_synthetic_workload_is_repeatable_and_spread() -> None:
    """The same seed gives the same requests, with lengths from short to long around the medians."""
    trace = synthesize(2_000, seed=7, requests_per_second=50)
    again = synthesize(2_000, seed=7, requests_per_second=50)

    assert trace == again
    lengths = sorted(trace.context_tokens)
    assert 800 < lengths[1_000] < 1_800
    assert lengths[20] < 200
    assert lengths[-20] > 6_000
    assert min(trace.generated_tokens) >= 1
