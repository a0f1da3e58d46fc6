"""`tallygate up`: both services on one machine, and the console where it is asked for, until told to stop."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from tallygate.cli.bootstrap import OPERATOR_FILE
from tallygate.cli.console import err, literal, out
from tallygate.cli.database_options import DATA_DIR, ControlDatabaseOption, DataDirOption, MeteringDatabaseOption
from tallygate.cli.processes import Pair, PairOptions, ProgramEndedError
from tallygate.cli.rpc import fail
from tallygate.cli.security import pair_security


def up(
    *,
    data_dir: DataDirOption = DATA_DIR,
    control: Annotated[
        str, typer.Option(metavar="HOST:PORT", envvar="TALLYGATE_CONTROL_LISTEN", help="Where control listens.")
    ] = "127.0.0.1:7401",
    metering: Annotated[
        str, typer.Option(metavar="HOST:PORT", envvar="TALLYGATE_METERING_LISTEN", help="Where metering listens.")
    ] = "127.0.0.1:7402",
    control_database_url: ControlDatabaseOption = "",
    metering_database_url: MeteringDatabaseOption = "",
    auth: Annotated[
        bool, typer.Option("--auth", help="Ask callers for proof; the operator's token is made in the data directory.")
    ] = False,
    console: Annotated[bool, typer.Option("--console", help="Run the console, too: pages in the browser.")] = False,
    console_listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", envvar="TALLYGATE_CONSOLE_LISTEN", help="Where browsers connect.")
    ] = "127.0.0.1:7080",
) -> None:
    """Runs the control service and a metering node; Ctrl-C stops both."""
    options = PairOptions(
        data_dir,
        control,
        metering,
        control_database_url,
        metering_database_url,
        has_auth=auth,
        console=console_listen if console else "",
    )
    trouble = asyncio.run(_run(options))
    if trouble:
        fail(trouble)


async def _run(options: PairOptions) -> str:
    """Returns what went wrong, or nothing."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    starting = asyncio.create_task(Pair.start(options, _log))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
    try:
        pair = await starting
    except ProgramEndedError as ended:
        return str(ended)
    except asyncio.CancelledError:
        return ""
    _welcome(pair, options)
    ending = asyncio.create_task(pair.ended())
    await asyncio.wait([ending, stopping], return_when=asyncio.FIRST_COMPLETED)
    trouble = "" if stop.is_set() else ending.result()
    ending.cancel()
    err.print("stopping", style="dim")
    await pair.stop()
    return trouble


def _welcome(pair: Pair, options: PairOptions) -> None:
    out.print(f"[bold]control[/]   {pair.control.address}")
    out.print(f"[bold]metering[/]  {pair.metering.address}")
    token = Path(options.data_dir) / OPERATOR_FILE
    if pair.console is not None:
        out.print(f"[bold]console[/]   {pair.console.address}")
    if pair.console is not None and options.has_auth:
        out.print("sign in    ", end="")
        out.print(f"with the token in {token}", markup=False)
    out.print("try        ", end="")
    ca = pair_security().ca_file
    how = f"-cacert {ca}" if ca else "-plaintext"
    if options.has_auth:
        how += f' -H "authorization: Bearer $(cat {token})"'
    out.print(f"grpcurl {how} {pair.control.address} tallygate.control.v1.AccountService/ListAccounts", markup=False)
    out.file.flush()


def _log(name: str, line: str) -> None:
    err.print(f"{name:>8} ", style="dim", end="")
    err.print(literal(line))
