"""The two services as processes, and the console where it is asked for: started in order, watched, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tallygate._channel import Channels
from tallygate._tls_failures import tls_problem
from tallygate.cli.bootstrap import OPERATOR_FILE, PEPPER_FILE, make_first_secrets
from tallygate.cli.node_token import NODE_FILE, make_node_token
from tallygate.cli.security import pair_security

START_S = 120
STOP_S = 30
_SERVING = "serving "
_HEALTH_POLL_S = 0.05
_SOME_ADDRESS = "127.0.0.1:1"
"""Placeholder for control's address, which the system may be about to choose."""

PROOF_VARIABLES: Final = (
    "TALLYGATE_AUTH",
    "TALLYGATE_CLIENT_CA",
    "TALLYGATE_OIDC_CONFIG",
    "TALLYGATE_OPERATOR_TOKEN_FILE",
    "TALLYGATE_PEPPER_FILE",
)
"""Settings in the environment, each of which says by itself how callers of control prove who they are."""

Log = Callable[[str, str], None]
"""Takes a program's name and a line that it wrote to stderr."""


class ProgramEndedError(Exception):
    """A service ended by itself; the message has its exit status and its last line."""


class ServiceProcess:
    """One service as a child process, in a session of its own so that Ctrl-C reaches only its parent."""

    def __init__(self, name: str, process: Process, log: Log) -> None:
        self.name = name
        self.address = ""
        self._whom = f"the {name}" if name == "console" else f"the {name} service"
        self._process = process
        self._log = log
        self._last_line = ""
        self._reader = asyncio.create_task(self._read_stderr(), name=f"{name} stderr")

    @classmethod
    async def start(
        cls,
        module: str,
        arguments: Sequence[str],
        log: Log,
        variables: Mapping[str, str] | None = None,
        *,
        name: str = "",
    ) -> ServiceProcess:
        """Starts `python -m MODULE` and waits until it serves. Raises ProgramEndedError if it ends instead.

        `variables`: settings in its environment, since everybody on a machine may read a program's options. `name`: of
        a program which is no service, and is not asked for its health.
        """
        is_service = not name
        name = name or module.removesuffix("_service")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
            env={**os.environ, **(variables or {})},
        )
        service = cls(name, process, log)
        try:
            async with asyncio.timeout(START_S):
                service.address = await service._read_address()
                if is_service:
                    await service._until_healthy()
        except TimeoutError:
            await service.stop()
            raise ProgramEndedError(f"{service._whom} did not serve within {START_S} s") from None
        except BaseException:
            await service.stop()
            raise
        return service

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ended(self) -> str:
        """Waits until it ends; returns how, in a sentence."""
        status = await self._process.wait()
        await self._reader
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
        return f"{self._whom} {how}" + (f": {self._last_line}" if self._last_line else "")

    async def stop(self) -> None:
        """Asks it to end and waits; one that does not is killed."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    async def _read_address(self) -> str:
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode(errors="replace").strip()
        if not line.startswith(_SERVING):
            raise ProgramEndedError(await self.ended())
        return line.removeprefix(_SERVING).split()[0]

    async def _until_healthy(self) -> None:
        channels = _channels()
        async with channels.open_aio(self.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while True:
                try:
                    answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=1)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.aio.AioRpcError as error:
                    if problem := tls_problem(error.details() or "", has_tls=channels.security.has_tls):
                        raise ProgramEndedError(f"the {self.name} service at {self.address} {problem}") from error
                if self._process.returncode is not None:
                    raise ProgramEndedError(await self.ended())
                await asyncio.sleep(_HEALTH_POLL_S)

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        async for raw in self._process.stderr:
            line = raw.decode(errors="replace").rstrip()
            if line:
                self._last_line = line
                self._log(self.name, line)


@dataclass(frozen=True, slots=True)
class PairOptions:
    """Where the pair listens and where it keeps its data; a database URL goes before the data directory.

    `console`: where the console listens in front of it; empty for none.
    """

    data_dir: str
    control: str
    metering: str
    control_database_url: str = field(default="", repr=False)
    metering_database_url: str = field(default="", repr=False)
    log_format: str = "text"
    has_auth: bool = False
    console: str = ""

    def control_arguments(self, *, is_check: bool = False) -> list[str]:
        """The control service's options. `is_check`: a pepper that nobody needs to prove anything is not made yet."""
        directory = Path(self.data_dir)
        operator = ["--operator-token-file", str(directory / OPERATOR_FILE)] if self.has_auth else ["--no-auth"]
        has_pepper = self.secrets and (self.has_auth or not is_check)
        proof = [*operator, "--pepper-file", str(directory / PEPPER_FILE)] if has_pepper else []
        return ["--listen", self.control, *proof, *self._common]

    @property
    def secrets(self) -> list[str]:
        """Names of the files in the data directory by which control proves callers, hashes keys and signs alerts."""
        if self.has_auth:
            return [OPERATOR_FILE, PEPPER_FILE]
        return [] if any(os.environ.get(name) for name in PROOF_VARIABLES) else [PEPPER_FILE]

    def metering_arguments(self, control: str) -> list[str]:
        """The node's options; `control`: where the control service is."""
        proof = ["--auth", "--control-token-file", str(Path(self.data_dir) / NODE_FILE)] if self.has_auth else []
        return ["--listen", self.metering, "--control", control, *proof, *self._common]

    def console_arguments(self, control: str, metering: str) -> list[str]:
        """The console's options. `control`, `metering`: where the pair serves."""
        return ["console", "--listen", self.console, "--control", control, "--metering", metering]

    @property
    def console_variables(self) -> dict[str, str]:
        """Settings of the console in its environment; what somebody logged in to by a context is another pair."""
        return {"TALLYGATE_CONFIG_DIR": os.devnull, **({"TALLYGATE_CA": ca} if (ca := _ca_file()) else {})}

    @property
    def variables(self) -> dict[str, str]:
        """Settings of both in their environment."""
        ca = _ca_file()
        link = {"TALLYGATE_CONTROL_CA": ca} if ca and not os.environ.get("TALLYGATE_CONTROL_CA") else {}
        return {
            "TALLYGATE_CONTROL_DATABASE_URL": self.control_database_url,
            "TALLYGATE_METERING_DATABASE_URL": self.metering_database_url,
            **link,
        }

    @property
    def _common(self) -> list[str]:
        return ["--data-dir", self.data_dir, "--log-format", self.log_format]


@dataclass(frozen=True, slots=True)
class Pair:
    """Both services, serving, and the console where there is one."""

    control: ServiceProcess
    metering: ServiceProcess
    console: ServiceProcess | None = None

    @classmethod
    async def start(cls, options: PairOptions, log: Log) -> Pair:
        """Starts control, then metering, once both have found nothing wrong with their settings.

        Raises:
            ProgramEndedError: one of them did not come up; then neither is left running.
        """
        if options.has_auth:
            make_first_secrets(Path(options.data_dir), *options.secrets)
        await _check(options)
        make_first_secrets(Path(options.data_dir), *options.secrets)
        variables = options.variables
        async with contextlib.AsyncExitStack() as stack:
            control = await ServiceProcess.start("control_service", options.control_arguments(), log, variables)
            stack.push_async_callback(control.stop)
            if options.has_auth:
                await _make_node_token(options, control.address)
            arguments = options.metering_arguments(control.address)
            metering = await ServiceProcess.start("metering_service", arguments, log, variables)
            stack.push_async_callback(metering.stop)
            console = await _start_console(options, control.address, metering.address, log) if options.console else None
            stack.pop_all()
        return cls(control, metering, console)

    @property
    def _in_the_order_of_their_end(self) -> list[ServiceProcess]:
        """The console, then metering, so that it can give back what it has on lease, then control."""
        return [process for process in (self.console, self.metering, self.control) if process is not None]

    async def ended(self) -> str:
        """Waits until one of them ends; returns how, in a sentence."""
        waits = [asyncio.create_task(process.ended()) for process in self._in_the_order_of_their_end]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for wait in waits:
                wait.cancel()

    async def stop(self) -> None:
        """Stops all of them."""
        for process in self._in_the_order_of_their_end:
            await process.stop()


async def _start_console(options: PairOptions, control: str, metering: str, log: Log) -> ServiceProcess:
    arguments = options.console_arguments(control, metering)
    return await ServiceProcess.start("tallygate.cli", arguments, log, options.console_variables, name="console")


async def _make_node_token(options: PairOptions, control: str) -> None:
    """Raises ProgramEndedError where control does not give one."""
    try:
        await make_node_token(Path(options.data_dir), control, _channels().security)
    except grpc.aio.AioRpcError as error:
        raise ProgramEndedError(f"control gave the node no token: {error.details()}") from error


def _channels() -> Channels:
    """The way to services that were started here. Raises ProgramEndedError."""
    try:
        return Channels(pair_security())
    except ValueError as error:
        raise ProgramEndedError(str(error)) from error


def _ca_file() -> str:
    """The authority that services which were started here are known by; empty in plain text."""
    return str(_channels().security.ca_file or "")


async def _check(options: PairOptions) -> None:
    """Has both check their settings, so that neither touches anything where the other one cannot start.

    Raises:
        ProgramEndedError: something is wrong with them; the message is the service's own.
    """
    if options.control == options.metering and not options.control.endswith(":0"):
        raise ProgramEndedError(f"both services cannot listen on {options.control}; choose another address for one")
    arguments = {
        "control_service": options.control_arguments(is_check=True),
        # The node's token is made by control, which does not run yet.
        "metering_service": replace(options, has_auth=False).metering_arguments(_SOME_ADDRESS),
    }
    checks = [_complaint(module, told, options.variables) for module, told in arguments.items()]
    for complaint in await asyncio.gather(*checks):
        if complaint:
            raise ProgramEndedError(complaint)


async def _complaint(module: str, arguments: Sequence[str], variables: Mapping[str, str]) -> str:
    """The complaint of a service about its options and environment; empty where it has none."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments, "--check"),
        stdout=DEVNULL,
        stderr=PIPE,
        env={**os.environ, **variables},
    )
    _, said = await process.communicate()
    if not process.returncode:
        return ""
    name, words = module.removesuffix("_service"), said.decode(errors="replace").strip()
    return f"the {name} service ended with exit status {process.returncode}" + (f": {words}" if words else "")
