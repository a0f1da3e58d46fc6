"""`tallygate demo`: the whole job in about a minute, on a pair of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from pathlib import Path
from typing import Annotated, Final

import grpc
import typer
from rich.console import Console

from tallygate.cli.console import out
from tallygate.cli.processes import Pair, PairOptions, ProgramEndedError
from tallygate.cli.replay import read_workload
from tallygate.cli.rpc import fail, sentence
from tallygate.cli.stage import Stage, StoryError
from tallygate.cli.story import play_story
from tallygate.replay.trace import Trace

_ANY_PORT: Final = "127.0.0.1:0"


def demo(
    *,
    trace: Annotated[
        Path | None, typer.Option(metavar="TRACE", help="Requests to replay; default: a synthetic workload.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="As fast as possible instead of at a pace to watch.")] = False,
    console: Annotated[
        bool, typer.Option("--console", help="Open the console on it, which stays open until Ctrl-C.")
    ] = False,
) -> None:
    """Starts both services in a temporary directory and tells the story of one account, under replayed traffic.

    Exit status 1 means that something did not go as the story says, or that the books do not agree.
    """
    workload = read_workload(trace, requests=4_000)
    trouble = asyncio.run(_run(out, workload, fast=fast, has_pages=console))
    if trouble:
        fail(trouble)


async def _run(console: Console, workload: Trace, *, fast: bool, has_pages: bool) -> str:
    """Returns what went wrong, or nothing."""
    with tempfile.TemporaryDirectory(prefix="tallygate-demo-") as directory:
        story = asyncio.create_task(_run_story(console, workload, directory, fast=fast, has_pages=has_pages))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, story.cancel)
        try:
            await story
        except (ProgramEndedError, StoryError) as error:
            return str(error)
        except grpc.aio.AioRpcError as error:
            return sentence(error, "one of the two services")
        except asyncio.CancelledError:
            return "stopped before its end"
        return ""


async def _run_story(console: Console, workload: Trace, directory: str, *, fast: bool, has_pages: bool) -> None:
    with console.status("starting the control service and a metering node"):
        pages = _ANY_PORT if has_pages else ""
        options = PairOptions(directory, control=_ANY_PORT, metering=_ANY_PORT, console=pages)
        pair = await Pair.start(options, lambda _name, _line: None)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(pair.stop)
        stage = await stack.enter_async_context(
            Stage(console, control=pair.control.address, metering=pair.metering.address, workload=workload, fast=fast)
        )
        console.print(f"control on {pair.control.address}, metering on {pair.metering.address}, data in {directory}")
        if pair.console is not None:
            console.print(f"[bold]the console is open at {pair.console.address}[/]")
        story = asyncio.create_task(play_story(stage))
        ended = asyncio.create_task(pair.ended())
        try:
            await asyncio.wait([story, ended], return_when=asyncio.FIRST_COMPLETED)
            if not story.done():
                raise ProgramEndedError(ended.result())
            story.result()
            if pair.console is not None:
                console.print(f"\nThe console stays open at {pair.console.address} until Ctrl-C.")
                await _until_told(ended)
        finally:
            story.cancel()
            ended.cancel()


async def _until_told(ended: asyncio.Task[str]) -> None:
    """Until Ctrl-C, which ends well here: the story has been told. Raises ProgramEndedError where a program ends."""
    with contextlib.suppress(asyncio.CancelledError):
        raise ProgramEndedError(await ended)
