"""The commands of the page on access, as an operator types them: from nothing to a closed pair with a first tenant."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from tallygate._channel import open_channel
from tallygate._security import Security
from tallygate.metering.v1 import metering_service_pb2 as metering
from tallygate.metering.v1 import metering_service_pb2_grpc, report_pb2
from tests.harness.oidc_provider import Browser, OidcProvider, running_provider
from tests.harness.patience import PATIENCE_S

PAGE = Path(__file__).parents[2] / "docs" / "access.md"
ISSUER = "https://login.example.com"
COMMANDS_MAX = 12

# The provider uses what its own libraries warn of.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def blocks() -> list[list[str]]:
    """The commands of the section, block by block."""
    section = PAGE.read_text().partition("## A closed pair, from nothing\n")[2].partition("\n## ")[0]
    return [block.strip().splitlines() for block in re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)]


class Terminal:
    """Types commands in one directory, against free ports of this machine and a provider on it."""

    def __init__(self, directory: Path, provider: OidcProvider) -> None:
        self._directory = directory
        self._addresses: dict[str, str] = {}
        """Where the ports of the page are really served, by the ports."""
        self._provider = provider
        self._background = ExitStack()

    def security(self, name: str) -> Security:
        tls = self._directory / "tls"
        return Security(ca_file=tls / "ca.pem", cert_file=tls / f"{name}.pem", key_file=tls / f"{name}-key.pem")

    def address(self, port: str) -> str:
        return self._addresses[port]

    def type(self, line: str) -> str:
        """Runs a command to its end, or until it serves where it goes on in the background; what it printed."""
        arguments, in_background = self._arguments(line)
        with (self._directory / "stderr").open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tallygate.cli", *arguments],
                cwd=self._directory,
                env=self._environment(),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._background.callback(_end, process)
        assert process.stdout is not None
        if in_background:
            serving = process.stdout.readline()
            assert serving.startswith("serving "), (self._directory / "stderr").read_text()
            ports = re.findall(r"0\.0\.0\.0:(\d+)", line)
            found = re.findall(r"127\.0\.0\.1:(\d+)", serving)
            self._addresses.update({port: f"localhost:{free}" for port, free in zip(ports, found, strict=True)})
            return serving
        out, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, f"{line}\n{(self._directory / 'stderr').read_text()}"
        return out

    def sign_in(self, line: str, subject: str) -> str:
        """Runs a command that prints an address for the browser, in which this person signs in."""
        arguments, _ = self._arguments(line)
        process = subprocess.Popen(
            [sys.executable, "-m", "tallygate.cli", *arguments, "--no-browser"],
            cwd=self._directory,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._background.callback(_end, process)
        assert process.stderr is not None
        url = next(text.strip() for text in process.stderr if text.startswith("http"))
        browser = Browser(subject)
        browser.open(url)
        out, err = process.communicate(timeout=PATIENCE_S)
        browser.close()
        assert process.returncode == 0, err
        return out

    def close(self) -> None:
        self._background.close()

    def _arguments(self, line: str) -> tuple[list[str], bool]:
        for port, address in self._addresses.items():
            line = line.replace(f"localhost:{port}", address)
        line = re.sub(r"0\.0\.0\.0:\d+", "127.0.0.1:0", line)
        program, *arguments = shlex.split(line.replace(ISSUER, self._provider.url))
        assert program == "tallygate"
        in_background = arguments[-1] == "&"
        return arguments[:-1] if in_background else arguments, in_background

    def _environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("TALLYGATE_")}
        return {**others, "TALLYGATE_CONFIG_DIR": str(self._directory / "config")}


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait(PATIENCE_S)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with running_provider() as provider:
        provider.add_user("lead", name="Ada L.", groups=["acme-leads"])
        tmp_path.joinpath("oidc.toml").write_text(
            f'[[issuer]]\nurl = "{provider.url}"\naudience = "tallygate"\nscope = "platform"\n'
        )
        terminal = Terminal(tmp_path, provider)
        try:
            yield terminal
        finally:
            terminal.close()


def test_the_pages_commands_make_a_closed_pair(terminal: Terminal) -> None:
    """At the end nobody gets in without proof, a lead owns the tenant, and its inference server reports by TLS."""
    commands, of_a_server = blocks()
    assert len(commands) <= COMMANDS_MAX
    *first, last = commands
    for line in first:
        terminal.type(line)
    signed_in = terminal.sign_in(last, "lead")
    assert "owner on accounts/acme" in signed_in
    assert "operator" not in signed_in
    for line in of_a_server:
        terminal.type(line)
    report = metering.AuthorizeRequest(
        report=report_pb2.TokenReport(request_id="r", service="accounts/acme/services/x")
    )
    with open_channel(terminal.address("7412"), terminal.security("meter-acme")) as channel:
        answer = metering_service_pb2_grpc.MeteringServiceStub(channel).Authorize(report, timeout=PATIENCE_S)
        assert answer.decision.reason  # It is let in, and told that there is no such service.
    with open_channel(terminal.address("7402"), Security(ca_file=terminal.security("x").ca_file)) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            metering_service_pb2_grpc.MeteringServiceStub(channel).Authorize(report, timeout=PATIENCE_S)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
