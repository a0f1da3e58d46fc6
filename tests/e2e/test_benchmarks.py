"""The benchmark itself: its messages are what protobuf would write, and a short run of it says what it should."""

import asyncio
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cases.stream import REPORTS_OF
from benchmarks.figures import Figure
from benchmarks.h2load import rate_in
from benchmarks.wire import Cutter, message, unary
from benchmarks.workload import MIXES, Asked, Mix
from tallygate.metering.v1 import metering_service_pb2 as pb

SERVICES = ["accounts/a/services/default-m", "accounts/a/services/other"]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", MIXES)
def test_messages_are_what_protobuf_writes(name: str) -> None:
    """Put together from parts, they are the same bytes, numbered without gaps, whatever their size."""
    mix: Mix = MIXES[name]("run", SERVICES, 100, 0.25)
    sequence = 1
    for segments, size in ((iter(mix.opening()), 7), (mix.running(), 300), (mix.closing(), 33)):
        cutter = Cutter(segments)
        for _ in range(20):
            cut = cutter.cut(size)
            if cut is None:
                break
            raw = message(sequence, cut.reports)
            parsed = pb.MeterRequest.FromString(raw)
            assert parsed.SerializeToString() == raw
            entries = len(parsed.columns.handles)
            assert (parsed.first_sequence, entries + len(parsed.reports)) == (sequence, cut.count)
            assert not (entries and parsed.reports)
            sequence += cut.count


def test_unary_messages_are_what_protobuf_writes() -> None:
    """The report of a stream's message serves as one call's, too."""
    cut = Cutter(Asked("run", SERVICES).running()).cut(1)
    assert cut is not None
    raw = unary(cut.reports)
    assert pb.AuthorizeRequest.FromString(raw).SerializeToString() == raw


def test_a_life_is_reported_in_order() -> None:
    """Each request is authorised, is in progress eight times with rising counts, and finishes; none is left over."""
    mix = MIXES["life"]("run", SERVICES, 100, 0.25)
    running, phases, outputs = mix.running(), dict[str, list[int]](), dict[str, int]()
    for segments in ([next(running) for _ in range(300)], mix.closing()):
        cutter = Cutter(iter(segments))
        while cut := cutter.cut(64):
            for report in pb.MeterRequest.FromString(message(1, cut.reports)).reports:
                phases.setdefault(report.request_id, []).append(report.phase)
                assert report.usage.output_tokens >= outputs.get(report.request_id, 0)
                outputs[report.request_id] = report.usage.output_tokens
    ran = [each for request_id, each in phases.items() if "first" not in request_id]
    assert all(each == [1, *[2] * (len(each) - 2), 3] for each in ran)
    assert max(len(each) for each in ran) == 10
    assert mix.said.requests == len(phases)


def test_in_any_order_each_request_reports_once_a_round() -> None:
    """Each round has another order, the same in each run; counts rise by one as they do in turn."""

    def rounds(count: int) -> list[list[tuple[str, int]]]:
        cutter = Cutter(MIXES["any order"]("run", SERVICES, 100, 0.25).running())
        cuts = [cutter.cut(100) for _ in range(count)]
        said = [pb.MeterRequest.FromString(message(1, cut.reports)).reports for cut in cuts if cut]
        return [[(each.request_id, each.usage.output_tokens) for each in reports] for reports in said]

    said = rounds(5)
    assert rounds(5) == said
    for number, reports in enumerate(said, start=1):
        assert {output for _, output in reports} == {128 + number}
        assert len({request_id for request_id, _ in reports}) == 100
    assert len({tuple(request_id for request_id, _ in reports) for reports in said}) == 5


@pytest.mark.parametrize("mix", REPORTS_OF)
def test_columns_say_what_reports_say(mix: str) -> None:
    """Entry for entry the same counts of the same requests; handles rise within a message, and are bound before."""
    columns, reports = (MIXES[name]("run", SERVICES, 100, 0.25) for name in (mix, REPORTS_OF[mix]))
    opening = [message for segment in columns.opening() for message in _messages(Cutter(iter([segment])), 4)]
    bound = {report.handle: report.request_id for each in opening for report in each.reports if report.handle}
    assert len(bound) == 100

    in_columns = Counter[tuple[str, int, int]]()
    for each in _messages(Cutter(columns.running()), 15):
        handles = list(each.columns.handles)
        assert handles == sorted(set(handles))
        counts = each.columns.output_tokens, each.columns.reasoning_tokens
        in_columns.update(zip([bound[handle] for handle in handles], *counts, strict=True))
    assert in_columns == Counter(
        (report.request_id, report.usage.output_tokens, report.usage.reasoning_tokens)
        for each in _messages(Cutter(reports.running()), 5, 100)
        for report in each.reports
    )


def _messages(cutter: Cutter, count: int, size: int = 40) -> Iterator[pb.MeterRequest]:
    """Columns end with each round of the open requests, so three messages of 40 say 100."""
    for cut in (cutter.cut(size) for _ in range(count)):
        if cut is not None:
            yield pb.MeterRequest.FromString(message(1, cut.reports))


def test_streams_are_out_of_step() -> None:
    """Once requests of all phases run, the same number of them is authorised at any time."""
    cutters = [Cutter(MIXES["life"]("run", SERVICES, 100, number / 8).running()) for number in range(8)]
    at_once = [sum(cut.authorisations for cut in (each.cut(64) for each in cutters) if cut) for _ in range(300)]
    assert max(at_once[200:]) <= 2 * 64


def test_ratios_are_of_the_same_round() -> None:
    """A round in which the machine was slow does not move the ratio."""
    figure = Figure("case", "name", "reports/s", [50, 5, 60], [100, 10, 100], at_least=0.5)
    assert (figure.value, figure.ratio, figure.reached) == (50, 0.5, True)
    assert figure.spread == pytest.approx(1.1)


def test_what_h2load_says_is_understood() -> None:
    """A rate, unless a call failed, also where only gRPC knows of it, or was denied: those answers are shorter."""
    said = (
        "finished in 2.00s, 2951.50 req/s, 210.33KB/s\n"
        "requests: 5903 total, 5967 started, 5903 done, {} succeeded, {} failed, 0 errored, 0 timeout\n"
        "traffic: 1.24MB (1301248) total, 17.40KB (17816) headers (space savings 96.27%), 1.10MB ({}) data\n"
    )
    assert rate_in(said.format(5903, 0, 5903 * 194), 195) == 2951.5
    with pytest.raises(RuntimeError, match="h2load failed"):
        rate_in(said.format(5902, 1, 5902 * 194), 195)
    for answer_bytes in (0, 109):
        with pytest.raises(RuntimeError, match="not allowed each time"):
            rate_in(said.format(5903, 0, 5903 * answer_bytes), 195)


async def test_a_short_run_says_what_it_measured(tmp_path: Path) -> None:
    """One size on SQLite: a figure, its ceiling from the same run, and books that agree with what was said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", "--quick", "--cases", "stream", "--only", "^progress 64, SQLite"),
        *("--json", "--out", str(tmp_path / "benchmark.json")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    found = json.loads(out)
    assert json.loads((tmp_path / "benchmark.json").read_text()) == found, errors.decode()
    assert {"time", "commit", "machine", "rounds", "seconds", "valid", "problems", "figures"} <= found.keys()
    assert found["reconciled"], found["problems"]
    # On a machine that is busy otherwise a figure may be none that counts; nothing else may be wrong.
    assert not [
        problem for problem in found["problems"] if not re.search("The ceiling is only|does not count", problem)
    ]
    assert process.returncode == (0 if found["valid"] else 1)
    names = [(figure["case"], figure["name"]) for figure in found["figures"]]
    assert names == [
        ("ceiling", "unary, trivial"),
        ("ceiling", "progress 256, trivial"),
        ("stream", "progress 64, trivial"),
        ("stream", "progress 64, SQLite"),
    ]
    ceiling, figure = found["figures"][-2:]
    assert figure["ceiling"] == ceiling["samples"]
    assert figure["ratio"] == pytest.approx(figure["samples"][0] / ceiling["samples"][0])
    details = figure["details"][0]
    assert (details["failure"], details["finished_requests"]) == ("", 1_000)
    assert details["rate"] == figure["value"] > 0


def _copy(directory: Path) -> Path:
    """A checkout that is no working copy: its interpreter notes what it is asked to run, and runs it."""
    checkout = directory / "older"
    for name in ("tallygate", "control_service", "metering_service"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    python = checkout / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$2 $3 $(pwd)" >> {checkout}/runs\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    if (ROOT / "build/compiled").is_dir():
        (checkout / "build").mkdir()
        (checkout / "build/compiled").symlink_to(ROOT / "build/compiled")
    return checkout


async def test_an_older_build_is_measured_in_turn(tmp_path: Path) -> None:
    """Both programs and the client's load are run from the other checkout, and its figures are held against ours."""
    checkout = _copy(tmp_path)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", "--quick", "--cases", "client", "stream"),
        *("--only", "^a token|^progress 64, SQLite", "--against", str(checkout)),
        *("--json", "--out", str(tmp_path / "benchmark.json")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    found = json.loads(out)
    assert found["reconciled"], (found["problems"], errors.decode())
    assert found["against"] == "older"
    figures = {figure["name"]: figure for figure in found["figures"]}
    for name in ("progress 64, SQLite", "a token at a time, one thread"):
        own, against = figures[name], figures[f"{name}; against older"]
        assert against["samples"] == own["samples"]
        assert against["ratio"] == pytest.approx(against["samples"][0] / against["ceiling"][0])
    runs = Counter(line for line in (checkout / "runs").read_text().splitlines())
    services = {f"tallygate.cli {service} {checkout}": 2 for service in ("control", "metering")}
    assert {line: runs[line] for line in services} == services
    assert runs[f"benchmarks.load  {ROOT}"] == 1


async def test_a_checkout_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    """A sentence says what it lacks, before anything is measured."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", "--against", str(tmp_path)),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert f"{tmp_path} has no .venv/bin/python: make .venv/dev there" in errors.decode()
