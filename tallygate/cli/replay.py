"""`tallygate replay`: a trace against the services, as a fleet of inference servers would have metered it."""

from __future__ import annotations

import asyncio
import json as json_codec
import uuid
from pathlib import Path
from typing import Annotated

import grpc
import typer
from rich.console import Console

from tallygate._proxies import by_way_of
from tallygate.cli.console import err, literal, out
from tallygate.cli.names import service_name
from tallygate.cli.replay_display import ReplayDisplay, agreement, reconciliation, summary
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    MeteringOption,
    channels_to,
    control_address,
    control_channel,
    fail,
    metering_addresses,
    sentence,
)
from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
)
from tallygate.replay.outcome import Outcome
from tallygate.replay.run import ReplayPlan
from tallygate.replay.run import replay as run_replay
from tallygate.replay.synthetic import synthesize
from tallygate.replay.tally import Tally
from tallygate.replay.trace import Trace, TraceError, read_trace


def replay(
    trace: Annotated[
        Path | None,
        typer.Argument(metavar="TRACE", help="Of Azure, BurstGPT, Mooncake or Bailian; or synthetic."),
    ] = None,
    *,
    service: Annotated[str, typer.Option(metavar="SERVICE", help="acme/chat-prod", parser=service_name)],
    speed: Annotated[
        str, typer.Option(metavar="N|max", help="1 is real time, 60 an hour in a minute, max as fast as possible.")
    ] = "max",
    servers: Annotated[int, typer.Option(metavar="K", help="Simulated inference servers.", min=1, max=256)] = 1,
    report_every: Annotated[
        int, typer.Option(metavar="TOKENS", help="Each request reports every so many output tokens.", min=1)
    ] = 50,
    requests: Annotated[int, typer.Option(help="How many, where no trace is given.", min=1)] = 1_000,
    control: ControlOption = DEFAULT_CONTROL,
    metering: MeteringOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Replays a trace and reconciles: sent, acknowledged, recorded, aggregated, leased, charged.

    Exit status 1 means that something disagrees. Nothing else should use the service meanwhile.
    """
    pace = _speed(speed)
    workload = read_workload(trace, requests=requests)
    control, metering = control_address(control), metering_addresses(metering)
    currency = _currency(control, service)
    plan = ReplayPlan(
        service=service,
        control=control,
        metering=metering,
        run_id=new_run_id(),
        servers=servers,
        speed=pace,
        report_every=report_every,
        security=channels_to(control, *metering).security,
    )
    title = trace.name if trace is not None else "synthetic workload"
    try:
        outcome = asyncio.run(replay_live(workload, plan, currency=currency, title=title, console=err))
    except grpc.aio.AioRpcError as error:
        way = next(filter(None, map(by_way_of, (control, *plan.metering))), "")
        whom = f"the control service at {control} or a metering node at {', '.join(plan.metering)}"
        fail(sentence(error, whom, way))
    if json:
        print(json_codec.dumps(outcome.as_json()))
    else:
        print_outcome(out, outcome, currency)
    raise typer.Exit(0 if outcome.reconciled else 1)


def new_run_id() -> str:
    """A new prefix for the ids of one run's requests."""
    return f"replay-{uuid.uuid4().hex[:12]}-"


async def replay_live(workload: Trace, plan: ReplayPlan, *, currency: str, title: str, console: Console) -> Outcome:
    """Replays with a live display on a terminal."""
    tally = Tally()
    with ReplayDisplay(console, tally, currency=currency, title=title) as display:
        return await run_replay(workload, plan, tally, display.set_status)


def print_outcome(console: Console, outcome: Outcome, currency: str) -> None:
    """Prints the summary, the reconciliation, and whether the books agree."""
    console.print(summary(outcome))
    console.print(reconciliation(outcome, currency))
    console.print(agreement(outcome))


def _speed(text: str) -> int | None:
    if text == "max":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither max nor a whole number from 1", param_hint="--speed")
    return int(text)


def read_workload(trace: Path | None, *, requests: int) -> Trace:
    """A trace, or a synthetic workload of `requests`; a broken trace ends the command with one sentence."""
    if trace is None:
        return synthesize(requests, seed=1, requests_per_second=40)
    try:
        workload = read_trace(trace)
    except TraceError as error:
        fail(str(error))
    say_late(workload, trace)
    return workload


def say_late(workload: Trace, trace: Path) -> None:
    """Says that requests of a trace were out of order, if any were."""
    if workload.late_count:
        late = f"{workload.late_count:,} of {len(workload):,} requests stood behind a later one"
        err.print(literal(f"{trace}: {late}; they were sorted by their times."))


def _currency(control: str, service: str) -> str:
    """Also makes sure, before anything is sent, that the service exists and control answers."""
    account = "/".join(service.split("/")[:2])
    with control_channel(control) as channel:
        lifecycle_service_pb2_grpc.LifecycleServiceStub(channel).GetInferenceService(
            lifecycle_service_pb2.GetInferenceServiceRequest(name=service), timeout=TIMEOUT_S
        )
        stub = account_service_pb2_grpc.AccountServiceStub(channel)
        request = account_service_pb2.GetAccountRequest(name=account)
        return stub.GetAccount(request, timeout=TIMEOUT_S).account.currency_code
