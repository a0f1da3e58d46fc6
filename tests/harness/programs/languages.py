"""The examples in other languages: copied, installed and built outside of the tree, or skipped with the reason."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]
EXAMPLES = Path("docs/integrations/examples")
PAGE = ROOT / "protos" / "README.md"
PAGE_ADDRESS = "127.0.0.1:7402"
INSTALL_S = 120
BUILD_S = 180
LEFT_BEHIND = shutil.ignore_patterns("node_modules", "gen", "dist")
"""Folders that are left by somebody who tried an example in the tree."""

NONE: Mapping[str, str] = {}
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # buf
    "CGO_ENABLED": "0",  # no C compiler is needed, and less is compiled
    "GOTOOLCHAIN": "local",  # what is installed, never a download of another Go
    "no_proxy": "127.0.0.1",
}


def page_program(language: str) -> str:
    """The program of a language on the contract's page."""
    (program,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert isinstance(program, str)
    return program


def local(program: str, address: str) -> str:
    """The program of the page, against another address."""
    assert PAGE_ADDRESS in program
    return program.replace(PAGE_ADDRESS, address)


def copy(language: str, directory: Path) -> Path:
    """An example, the protos and what they import, in the places that they have to each other in the tree."""
    for part in (Path("protos"), Path(".venv/protos"), EXAMPLES / language):
        shutil.copytree(ROOT / part, directory / part, ignore=LEFT_BEHIND)
    shutil.copy(ROOT / "buf.yaml", directory)
    return directory / EXAMPLES / language


def run(command: Sequence[str], cwd: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; in time, or nothing of it is left and TimeoutExpired is raised."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, _ = process.communicate(timeout=timeout_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out)


def need(command: Sequence[str], cwd: Path, otherwise: str) -> None:
    """Run what depends on the machine and its network; where it fails, the test is skipped."""
    try:
        done = run(command, cwd, INSTALL_S)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{otherwise} within {INSTALL_S} s")
    # A lock file that does not fit its package.json is a fault of the tree.
    assert "EUSAGE" not in done.stdout, done.stdout
    if done.returncode:
        pytest.skip(f"{otherwise}: {done.stdout.strip()[:300]}")


def build(cwd: Path, *commands: Sequence[str]) -> str:
    """Run what must succeed, all of it within `BUILD_S`; what the last command printed."""
    end_s = time.monotonic() + BUILD_S
    out = ""
    for command in commands:
        done = run(command, cwd, end_s - time.monotonic())
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}"
        out = done.stdout
    return out


@dataclass(frozen=True)
class Built:
    """How to run the example, and the program of the contract's page, which `page` has with the page's address."""

    example: Sequence[str]
    page: Path
    page_command: Sequence[str]
    cwd: Path

    def run_page(self, address: str) -> str:
        """The page's program, against another address; what it printed."""
        self.page.write_text(local(self.page.read_text(), address))
        return build(self.cwd, self.page_command)

    @asynccontextmanager
    async def meter(self, *arguments: str, variables: Mapping[str, str] = NONE) -> AsyncIterator["Running"]:
        """The example, metering a request; with these further variables in its environment."""
        process = await asyncio.create_subprocess_exec(
            *self.example,
            *arguments,
            cwd=self.cwd,
            env={**ENVIRONMENT, **variables},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield Running(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@dataclass(frozen=True)
class Running:
    """A running example: its standard input is its model."""

    process: asyncio.subprocess.Process

    async def says(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)).decode().rstrip()

    async def allowed(self) -> int:
        """How many tokens it may generate at first."""
        return self._number(r"allowed: (\d+) output tokens for now", await self.says())

    async def generate(self, tokens: int) -> int:
        """Let its model have generated so many tokens; how many more it may generate then."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{tokens}\n".encode())
        return self._number(rf"{tokens} generated: (\d+) more for now", await self.says())

    @staticmethod
    def _number(pattern: str, line: str) -> int:
        match = re.fullmatch(pattern, line)
        assert match is not None, line
        return int(match[1])

    async def finish(self) -> tuple[str, int]:
        """End its model; its last line and its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.says(), await asyncio.wait_for(self.process.wait(), PATIENCE_S)


def built_typescript(directory: Path) -> Built:
    """With npm, from the lock file."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    cwd = copy("typescript", directory)
    need(("npm", "ci", "--prefer-offline", "--fetch-retries=1", "--no-audit", "--no-fund"), cwd, "npm cannot install")
    (cwd / "src" / "page.ts").write_text(page_program("typescript"))
    build(cwd, ("npm", "run", "build"))
    built = cwd / "dist" / "src"
    return Built(("node", str(built / "main.js")), built / "page.js", ("node", str(built / "page.js")), cwd)


def built_go(directory: Path) -> Built:
    """With the Go that is installed, its shared caches, and nothing but what go.sum says."""
    if not shutil.which("go"):
        pytest.skip("Go is not installed")
    cwd = copy("go", directory)
    need(("go", "mod", "download"), cwd, "Go cannot download what the example needs")
    try:
        # The tools first and together, since buf runs both at once, and each would compile what they share.
        build(cwd, ("go", "build", "tool"), ("buf", "generate"), ("go", "build", "-o", "example", "."))
    except subprocess.TimeoutExpired:
        pytest.skip(f"Go's build cache is cold, and {BUILD_S} s were not enough; the next run goes on from there")
    page = cwd / "page" / "main.go"
    page.parent.mkdir()
    page.write_text(page_program("go"))
    return Built((str(cwd / "example"),), page, ("go", "run", "./page"), cwd)
