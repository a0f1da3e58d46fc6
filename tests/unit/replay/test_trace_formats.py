"""The formats of public traces: told apart by their content, read exactly, and refused by the line."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

from tallygate.replay.trace import Trace, TraceError, read_trace
from tallygate.replay.trace_file import LINE_CHARS_MAX

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-12 00:00:00.003947+00:00,2162,5
2024-05-12 00:00:01+00:00,2399,6
"""
BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,GPT-4,1087,0,1087,API log
"""
BURST_SESSIONS = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
19440110.0,1f0c,43,GPT-4,906,446,1352,Conversation log
19440161.25,,,ChatGPT,36,29,65,API log
"""
BURST_SHORT = """Timestamp,Model,Request tokens,Response tokens,Total tokens
7,GPT-4,200,50,250
8,GPT-4,400,30,430
"""
MOONCAKE = """{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 2353]}
{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46, 47, 48]}
"""
BAILIAN = """\
{"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 521, "output_length": 132, "type": "text"}
{"chat_id": 160, "parent_chat_id": 159, "timestamp": 62.5, "input_length": 400, "output_length": 80, "type": "search"}
"""


def rows_of(trace: Trace) -> list[tuple[int, int, int, str]]:
    return [(row.offset_us, row.context_tokens, row.generated_tokens, row.source) for row in trace.rows()]


def read(path: Path, content: str | bytes) -> Trace:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_trace(path)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (AZURE, [(0, 4808, 10, ""), (52_000, 3180, 8, "")]),
        (AZURE_2024, [(0, 2162, 5, ""), (996_053, 2399, 6, "")]),
        (BURST, [(0, 472, 18, "ChatGPT"), (40_000_000, 1087, 0, "GPT-4")]),
        (BURST_SESSIONS, [(0, 906, 446, "GPT-4"), (51_250_000, 36, 29, "ChatGPT")]),
        (BURST_SHORT, [(0, 200, 50, "GPT-4"), (1_000_000, 400, 30, "GPT-4")]),
        (MOONCAKE, [(0, 6955, 52, ""), (3_053_000, 6472, 26, "")]),
        (BAILIAN, [(0, 521, 132, "text"), (1_386_000, 400, 80, "search")]),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t"])
def test_each_format_is_told_by_its_content(
    tmp_path: Path, name: str, content: str, rows: list[tuple[int, int, int, str]]
) -> None:
    """The file's name does not matter, and neither do a byte-order mark, line ends, or how it is packed."""
    packed = content.encode()
    for form in (
        content,
        "\ufeff" + content,
        content.replace("\n", "\r\n"),
        content.removesuffix("\n"),
        content + "\n \n\n",
        gzip.compress(packed),
        zstd.compress(packed),
    ):
        assert rows_of(read(tmp_path / name, form)) == rows


def test_only_azure_says_the_time_of_the_day(tmp_path: Path) -> None:
    """What begins at zero has no day."""
    assert read(tmp_path / "t", AZURE).start_us == 1_700_158_623_979_960
    assert read(tmp_path / "t", MOONCAKE).start_us is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (BURST + "50,GPT-4,1,1,2\n", "line 4 has 5 fields instead of Timestamp,Model"),
        (BURST + "-1,GPT-4,1,1,2,API log\n", "line 4 has the Timestamp -1"),
        (BURST + "1,GPT-4,one,1,2,API log\n", "line 4 has Request tokens 'one'"),
        (BURST + '1,"GPT-4,1,1,2,API log\n', "line 4 is not a line of CSV"),
        (MOONCAKE + "[1]\n", "line 3 is not a JSON object"),
        (MOONCAKE + '{"timestamp": 1\n', "line 3 is not a JSON object"),
        (MOONCAKE + '{"timestamp": 1, "input_length": 5}\n', "line 3 has no output_length"),
        (MOONCAKE + '{"timestamp": "1", "input_length": 5, "output_length": 5}\n', "line 3 has the timestamp"),
        (MOONCAKE + '{"timestamp": 1e99, "input_length": 5, "output_length": 5}\n', "line 3 has the timestamp"),
        (MOONCAKE + '{"timestamp": 1, "input_length": true, "output_length": 5}\n', "line 3 has input_length"),
        (MOONCAKE + '{"timestamp": 1, "input_length": 5.5, "output_length": 5}\n', "line 3 has input_length '5.5'"),
        (AZURE.replace("8\n", "8\n\n\n") + "2023-11-16 18:17:05,1,1\n", "line 4 is empty, and others follow"),
        (BAILIAN + "\x00\n", "line 3 is not a JSON object"),
    ],
)
def test_a_broken_line_of_any_format_is_named(tmp_path: Path, content: str, what: str) -> None:
    """The error says the file, the line's number and what is wrong with it, in one line."""
    path = tmp_path / "t"
    with pytest.raises(TraceError) as error:
        read(path, content)
    assert str(error.value).startswith(f"{path}: {what}")
    assert "\n" not in str(error.value)


def test_packed_files_that_are_damaged_are_refused(tmp_path: Path) -> None:
    """A file that ends in the middle of a frame, or is garbage behind its beginning, is said to be damaged."""
    for content in (
        gzip.compress(AZURE.encode())[:-12],
        gzip.compress(AZURE.encode())[:12] + b"garbage" * 9,
        zstd.compress(AZURE.encode())[:-4],
        zstd.compress(AZURE.encode())[:6] + b"garbage" * 9,
    ):
        with pytest.raises(TraceError, match="is compressed and damaged"):
            read(tmp_path / "t", content)


def test_a_line_without_end_is_no_trace(tmp_path: Path) -> None:
    """Not more of a file is taken into memory than a line can have, whatever a small packed file unpacks to."""
    with pytest.raises(TraceError, match="it is no trace"):
        read(tmp_path / "t", gzip.compress(b"x" * (LINE_CHARS_MAX + 1)))


def test_requests_out_of_order_are_sorted_and_counted(tmp_path: Path) -> None:
    """Times are since the earliest; those of one moment keep their order."""
    lines = BURST.splitlines()
    trace = read(tmp_path / "t", "\n".join([lines[0], lines[2], "45,ChatGPT,1,1,2,API log", lines[1]]))

    assert rows_of(trace) == [(0, 472, 18, "ChatGPT"), (40_000_000, 1087, 0, "GPT-4"), (40_000_000, 1, 1, "ChatGPT")]
    assert trace.late_count == 1
    assert read(tmp_path / "t", BURST).late_count == 0
