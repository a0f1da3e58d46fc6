"""Decisions a second and core of others that decide by gRPC, where their programs are named, and of this software."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple

from benchmarks.bench import Bench, Variant
from benchmarks.figures import Figure
from benchmarks.job import Result
from benchmarks.judgement import judge
from benchmarks.peers.programs import PEERS, Peer
from benchmarks.targets import Target

STREAMS: Final = 8
BATCH: Final = 256
OWN_PROMISE: Final = (
    "each report is on disk before it is called durable, counts are exact to the token after crashes and retries, and "
    "the record says who paid, and how much"
)
GUBERNATOR, RATELIMIT, LIMITADOR = (peer.name for peer in PEERS)


class Own(NamedTuple):
    """What of this software is held against whom. `each`: decisions or requests that one of the rate's unit is."""

    name: str
    unit: str
    job: dict[str, Any]
    each: float
    against: str
    at_least: float
    aim: float


COLUMNS: Final = {"mix": "columns", "message_size": 1_024, "requests": STREAMS * 1_024, "streams": STREAMS}
BRIEF: Final = {"mix": "brief", "message_size": BATCH}
OWN: Final = (
    Own("progress in columns 1,024", "entries", COLUMNS, 1.0, f"{GUBERNATOR}, {BATCH} a call", 40.0, 100.0),
    Own("authorise+finish 256", "requests", BRIEF, 0.5, f"{GUBERNATOR}, {BATCH} a call", 0.2, 0.4),
    Own("unary", "calls", {"kind": "unary"}, 1.0, f"{RATELIMIT}, 1 a call", 0.4, 0.5),
)
SIZES: Final = {GUBERNATOR: (1, BATCH), RATELIMIT: (1,), LIMITADOR: (1,)}


async def run(bench: Bench) -> None:
    """All of them at once, in turn. What is not named is left out, and a sentence says so."""
    async with AsyncExitStack() as stack:
        others = []
        for peer in PEERS:
            if peer.missing:
                bench.remarks.append(
                    f"peers: {peer.name} was not asked: the environment does not name {' and '.join(peer.missing)}."
                )
            else:
                target = await stack.enter_async_context(peer.start(bench.directory))
                others += [_variant(peer, target, size) for size in SIZES[peer.name]]
        if not others:
            return
        target = await stack.enter_async_context(bench.real("sqlite"))
        own = [Variant(f"{each.name}, SQLite", target, each.job, unit=each.unit) for each in OWN]
        results = await bench.compare("peers", [*others, *own], keep=False)
    promises = {peer.name: peer.promise for peer in PEERS}
    for variant in others:
        if results.get(variant.name):
            promise = promises[variant.name.rpartition(", ")[0]]
            _figure(bench, variant.name, "decisions", results[variant.name]).notes.append(f"promises: {promise}")
    for variant, each in zip(own, OWN, strict=True):
        if results.get(variant.name):
            _held_against(bench, each, results[variant.name], results.get(each.against, []))


def _variant(peer: Peer, target: Target, size: int) -> Variant:
    job = {"kind": "peer", "mix": peer.dialect, "message_size": size, "requests": 10_240}
    return Variant(f"{peer.name}, {size} a call", target, job)


def _held_against(bench: Bench, own: Own, results: list[Result], others: list[Result]) -> None:
    name = f"{own.name}, SQLite; against {own.against}" if others else f"{own.name}, SQLite"
    figure = _figure(bench, name, own.unit, results)
    figure.samples = [own.each * sample for sample in figure.samples]
    figure.notes.append(f"promises: {OWN_PROMISE}")
    if others:
        figure.ceiling, figure.at_least, figure.aim = _per_core(others), own.at_least, own.aim
        judge(figure, [], others)


def _figure(bench: Bench, name: str, unit: str, results: list[Result]) -> Figure:
    figure = Figure("peers", name, f"{unit}/s and core", _per_core(results))
    figure.details = results
    judge(figure, results)
    bench.figures.append(figure)
    if any("p99" in result.latency_ms for result in results):
        bench.latencies("peers", name.partition(";")[0], results, [], point="p99")
    return figure


def _per_core(results: Sequence[Result]) -> list[float]:
    """Of the processor time that all programs of a server took together."""
    return [result.rate / result.server_cpu if result.server_cpu else 0.0 for result in results]
