"""Others beside us: their messages are what their projects publish, and each driver asks a server that speaks them."""

import re
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from rich.progress import Progress

from benchmarks.bench import Bench, Plan
from benchmarks.cases import peers
from benchmarks.generator import generate
from benchmarks.job import Job, Result
from benchmarks.peers.dialects import EnvoyRateLimit, Gubernator
from benchmarks.peers.programs import GUBERNATOR, LIMITADOR, PEERS, RATELIMIT, REDIS, Peer
from benchmarks.targets import Postgres

ROOT = Path(__file__).parents[2]
PROGRAMS = {GUBERNATOR: "gubernator", RATELIMIT: "ratelimit", REDIS: "redis", LIMITADOR: "limitador"}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All of them are named, and are fakes."""
    for variable, name in PROGRAMS.items():
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.harness.peers.fake_peer {name} "$@"\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv(variable, str(program))
    return tmp_path


def test_messages_are_what_their_projects_publish() -> None:
    """Written by hand from the numbers of their fields."""
    key = (
        b"\x0a\x05bench" + b"\x12\x01k" + b"\x18\x01" + b"\x20\x80\x94\xeb\xdc\x03" + b"\x28\xe0\xd4\x03" + b"\x38\x01"
    )
    assert Gubernator().request(["k"]) == b"\x0a" + bytes([len(key)]) + key
    assert Gubernator().allowed(b"\x0a\x02\x10\x05" + b"\x0a\x02\x08\x01" + b"\x0a\x03\x2a\x01e") == 1

    entry = b"\x0a\x07request" + b"\x12\x01k"
    descriptor = b"\x0a" + bytes([len(entry)]) + entry
    asked = b"\x0a\x05bench" + b"\x12" + bytes([len(descriptor)]) + descriptor + b"\x18\x01"
    assert EnvoyRateLimit().request(["k"]) == asked
    assert [EnvoyRateLimit().allowed(answer) for answer in (b"\x08\x01", b"\x08\x02", b"")] == [1, 0, 0]


@pytest.mark.parametrize("peer", PEERS, ids=[peer.name.partition(" ")[0] for peer in PEERS])
async def test_each_is_started_and_asked(peer: Peer, programs: Path) -> None:
    """A rate of decisions, with the processor time of all its programs; then nothing is left running."""
    size = peers.SIZES[peer.name][-1]
    async with peer.start(programs) as target:
        assert len(target.pids) == len(peer.variables)
        job = Job("peer", target.addresses, target.pids, "run", [], 0.2, peer.dialect, size, requests=512)
        result = await generate(job, programs)
        while not result.reports:  # So short a time may pass on a busy machine without any answer.
            result = await generate(job, programs)
    assert result.rate > 0
    assert result.reports % size == 0
    assert result.latency_ms["p99"] > 0


async def test_a_program_that_does_not_serve_is_said_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of waiting for it."""
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho no such option\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setenv(GUBERNATOR, str(program))
    with pytest.raises(RuntimeError, match="broken does not serve:\nno such option"):
        async with PEERS[0].start(tmp_path):
            pass


def _bench() -> Bench:
    plan = Plan(rounds=1, seconds=1.0, quick=True, only=re.compile(""))
    return Bench(plan, Path(), Postgres(AsyncExitStack()), Progress(disable=True))


async def test_what_is_not_named_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started, and no figure made."""
    for variable in PROGRAMS:
        monkeypatch.delenv(variable, raising=False)
    bench = _bench()
    await peers.run(bench)
    assert bench.figures == []
    assert bench.remarks == [
        "peers: Gubernator was not asked: the environment does not name TALLYGATE_BENCH_GUBERNATOR.",
        f"peers: envoyproxy/ratelimit over Redis was not asked: the environment does not name {RATELIMIT} and {REDIS}.",
        "peers: Limitador was not asked: the environment does not name TALLYGATE_BENCH_LIMITADOR.",
    ]


def test_figures_are_of_one_core_and_say_what_they_promise() -> None:
    """A report of an authorisation and its finish is half a request; the goal counts only beside who was asked."""
    bench, own = _bench(), peers.OWN[1]
    peers._held_against(bench, own, [Result(rate=8_000, server_cpu=0.8)], [Result(rate=50_000, server_cpu=2.0)])
    peers._held_against(bench, own, [Result(rate=8_000, server_cpu=0.8)], [])

    beside, alone = bench.figures
    assert (beside.samples, beside.ceiling, beside.ratio, beside.reached) == ([5_000], [25_000], 0.2, True)
    assert beside.name == "authorise+finish 256, SQLite; against Gubernator, 256 a call"
    assert (alone.samples, alone.ratio, alone.reached) == ([5_000], None, None)
    assert beside.notes == alone.notes == [f"promises: {peers.OWN_PROMISE}"]
