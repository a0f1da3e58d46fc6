"""Compares what is recorded with what real vLLM counted, for each kind of request.

    python -m scripts.vllm_exact --python VENV/bin/python

VENV has vLLM and what tallygate's client needs; docs/integrations/vllm.md says how it is made. Nothing leaves loopback.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx2

from scripts.vllm_exact.kinds import ABORTED, KINDS, Kind
from scripts.vllm_exact.programs import KEY, SERVICE, pair, vllm
from tallygate.metering.v1 import request_usage_pb2, usage_service_pb2, usage_service_pb2_grpc

WAIT_S = 20
READ_CHUNKS = 40


@dataclass(frozen=True, slots=True)
class Counted:
    """Input and output tokens, as somebody counted them."""

    input: int
    output: int

    def __sub__(self, other: Counted) -> Counted:
        return Counted(self.input - other.input, self.output - other.output)


class Bench:
    """vLLM and the meter, side by side."""

    def __init__(self, url: str, usage: usage_service_pb2_grpc.UsageServiceStub) -> None:
        self.http = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=120, trust_env=False
        )
        self.usage = usage

    def counters(self) -> Counted:
        """VLLM's counters, once it is at rest."""
        while True:
            lines = self.http.get("/metrics").text.splitlines()
            values = {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:")}
            if not values["vllm:num_requests_running"] and not values["vllm:num_requests_waiting"]:
                return Counted(int(values["vllm:prompt_tokens_total"]), int(values["vllm:generation_tokens_total"]))
            time.sleep(0.05)

    def counters_after(self, before: Counted, least_output: int) -> Counted:
        """What vLLM has counted since: its statistics come a moment after the answer."""
        deadline = time.monotonic() + 3
        since = self.counters() - before
        while since.output < least_output and time.monotonic() < deadline:
            time.sleep(0.05)
            since = self.counters() - before
        return since

    def record(self, request_id: str) -> request_usage_pb2.RequestUsage:
        """The record of a request, once it has ended."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                found = self.usage.GetRequestUsage(
                    usage_service_pb2.GetRequestUsageRequest(service=SERVICE, request_id=request_id)
                )
                parts = list(found.parts)
                if parts and parts[0].state != request_usage_pb2.SETTLEMENT_STATE_RUNNING:
                    return parts[0]
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            if time.monotonic() > deadline:
                raise RuntimeError(f"request {request_id} is not recorded")
            time.sleep(0.05)


def recorded(record: request_usage_pb2.RequestUsage) -> Counted:
    """The classes of a record."""
    usage = record.usage
    went_in = usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens
    return Counted(went_in, usage.output_tokens + usage.reasoning_tokens)


def compare(bench: Bench, kind: Kind) -> tuple[bool, str]:
    """Sends one request; returns whether the record equals vLLM's counters, and a line about it."""
    before = bench.counters()
    answer = bench.http.post(kind.path, json={"model": "llama", **kind.body})
    request_id = answer.headers.get("x-tallygate-request-id", "")
    if not request_id:
        return False, f"status {answer.status_code}, not metered: {answer.text[:160]}"
    record = bench.record(request_id)
    mine = recorded(record)
    counted = bench.counters_after(before, mine.output)
    expected = Counted(counted.input // kind.prompts, counted.output)
    cached = record.usage.cached_input_tokens
    words = f"status {answer.status_code}, recorded {mine.input}/{mine.output} ({cached} cached)"
    words += f", vLLM {expected.input}/{expected.output}"
    return mine == expected and not record.estimated, words + (", estimated" if record.estimated else "")


def abort(bench: Bench, kind: Kind) -> tuple[bool, str]:
    """Reads some chunks of a stream and leaves; what is recorded lies between what was read and what vLLM made."""
    before = bench.counters()
    read = 0
    with bench.http.stream("POST", kind.path, json={"model": "llama", **kind.body}) as answer:
        request_id = answer.headers.get("x-tallygate-request-id", "")
        for at, chunk in enumerate(_chunks(answer.iter_lines())):
            read += sum(len(choice.get("token_ids") or ()) for choice in chunk["choices"])
            if at >= READ_CHUNKS:
                break
    record = bench.record(request_id)
    mine = recorded(record)
    counted = bench.counters_after(before, mine.output)
    words = f"read {read}, recorded {mine.input}/{mine.output}, vLLM {counted.input}/{counted.output}"
    is_exact = read <= mine.output <= counted.output and not record.estimated
    return is_exact, words + (", estimated" if record.estimated else "")


def _chunks(lines: Iterator[str]) -> Iterator[dict[str, list[dict[str, list[int]]]]]:
    for line in lines:
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def run(python: str, folder: Path) -> int:
    """Runs all; prints a line for each kind; returns how many were not exact."""
    wrong = 0
    with (
        pair(folder) as (_, metering),
        vllm(python, folder, metering) as url,
        grpc.insecure_channel(metering) as channel,
    ):
        bench = Bench(url, usage_service_pb2_grpc.UsageServiceStub(channel))
        for kinds, look in ((KINDS, compare), (ABORTED, abort)):
            for kind in kinds:
                is_exact, words = look(bench, kind)
                wrong += not is_exact
                print(f"{'exact' if is_exact else 'WRONG'}  {kind.name}: {words}", flush=True)
    print(f"{len(KINDS) + len(ABORTED) - wrong} exact, {wrong} wrong")
    return wrong


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="the Python of an environment with vLLM")
    parser.add_argument("--folder", help="where logs and data go, to be kept; else a temporary folder")
    arguments = parser.parse_args()
    if arguments.folder:
        sys.exit(bool(run(arguments.python, Path(arguments.folder))))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(bool(run(arguments.python, Path(folder))))


if __name__ == "__main__":
    main()
