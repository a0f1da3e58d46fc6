"""The two services as programs: real processes, real ports, real databases."""

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from tallygate._channel import open_aio_channel
from tallygate._security import PLAIN, Security
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.hosts import Host

LOG_LINES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Code:
    """What a program is run from: an interpreter, the folder that it starts in, its environment, and its host."""

    python: str = sys.executable
    root: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    host: Host | None = None


@dataclass(eq=False)
class Program:
    """A running service. Its log is in a file, and part of what a failing test shows."""

    module: str
    process: asyncio.subprocess.Process
    log: Path
    address: str = ""
    mtls_address: str = ""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join([f"{self.module}:", *self.log.read_text().splitlines()[-LOG_LINES_SHOWN:]])

    def logged(self) -> list[dict[str, Any]]:
        """The events of its log so far, without what libraries write in words of their own."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def has_left_behind(self) -> bool:
        """Whether it has stopped, and said that it could not settle all before."""
        return self.process.returncode == 0 and any(line["event"] == "left_behind" for line in self.logged())

    @contextmanager
    def disk_full(self) -> Iterator[None]:
        """Nothing that it writes fits on any disk, its log included; what is read, and sent, is not affected."""
        before, most = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (0, most))
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (before, most))

    async def stop(self) -> None:
        """Ask it to end as an operator would; it must do so with exit code 0."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(self.process.wait(), PATIENCE_S) == 0, self.last_words()

    async def kill(self) -> None:
        """End it as a crash would."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def start(
    module: str,
    arguments: Sequence[str],
    log: Path,
    security: Security = PLAIN,
    code: Code | None = None,
    *,
    settings: Mapping[str, str] | None = None,
) -> Program:
    """Start `python -m MODULE` and wait until it says where it serves and health checking agrees.

    Of this project's variables it has those of `settings` alone.
    """
    code = code or Code()
    environment = {name: value for name, value in code.environment.items() if not name.startswith("TALLYGATE_")}
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(*(code.host.command() if code.host else ()), code.python, "-m", module, *arguments),
            cwd=code.root,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**environment, **(settings or {})},
        )
    program = Program(module, process, log)
    assert process.stdout is not None
    try:
        line = await _first_line(process.stdout)
        assert line.startswith("serving "), program.last_words()
        _, program.address, *_, program.mtls_address = [*line.split(), *([] if " mtls " in line else [""])]
        await asyncio.wait_for(_healthy(program.address, security), PATIENCE_S)
    except BaseException:
        await program.kill()
        raise
    return program


async def _first_line(stdout: asyncio.StreamReader) -> str:
    """Empty where none comes in time."""
    try:
        return (await asyncio.wait_for(stdout.readline(), PATIENCE_S)).decode()
    except TimeoutError:
        return ""


async def _healthy(address: str, security: Security) -> None:
    async with open_aio_channel(address, security) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        async for answer in watch:
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return


async def until_said(log: Path, words: str) -> None:
    """Until a program's log has them."""
    async with asyncio.timeout(PATIENCE_S):
        while words not in await asyncio.to_thread(log.read_text):  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.1)


@dataclass(eq=False)
class Pair:
    """A control service and its metering nodes. `hosts`: where programs run, by name, that have hosts of their own."""

    directory: Path
    control_database_url: str
    metering_database_url: str
    programs: dict[str, Program] = field(default_factory=dict)
    hosts: Mapping[str, Host] = field(default_factory=dict)

    @property
    def control(self) -> Program:
        """The control service."""
        return self.programs["control"]

    @property
    def metering(self) -> Program:
        """The first metering node."""
        return self.programs["node-1"]

    async def start_control(self, listen: str = "", name: str = "control") -> Program:
        """Start the control service or another replica of it, or start it again, then at its old address."""
        return await self._start("control_service", name, listen, "--database-url", self.control_database_url)

    async def start_node(self, name: str, listen: str = "", control: str | None = None) -> Program:
        """Start a metering node, or start it again; all share one database."""
        arguments = [
            *("--control", control or self.control.address, "--node-name", name),
            *("--database-url", self.metering_database_url),
        ]
        return await self._start("metering_service", name, listen, *arguments)

    async def _start(self, module: str, name: str, listen: str, *arguments: str) -> Program:
        host = self.hosts.get(name)
        where = ["--listen", listen or "127.0.0.1:0"]
        if host is not None:
            where = ["--listen", listen or f"{host.address}:0", "--insecure"]
        log, code = self.directory / f"{name}.log", Code(host=host)
        self.programs[name] = await start(module, [*where, *arguments], log, code=code)
        return self.programs[name]

    async def stop(self) -> None:
        """Stop what still runs, nodes first, so that they can give back what they have on lease."""
        for program in reversed(self.programs.values()):
            if program.process.returncode is None:
                await program.stop()

    async def kill(self) -> None:
        """Leave nothing running. A failing test shows the last words of what ended by itself, and not well."""
        for program in self.programs.values():
            if program.process.returncode not in (None, 0, -signal.SIGKILL):
                sys.stderr.write(program.last_words() + "\n")
            await program.kill()
