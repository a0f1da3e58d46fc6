"""Both services over TLS, by certificates of `tallygate tls`: by token at one address, by certificate at another."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tallygate._security import Security
from tallygate.cli.tls import TRUST_DOMAIN
from tests.harness.patience import turns
from tests.harness.programs.command import tallygate
from tests.harness.programs.guarded import Secrets, made_secrets
from tests.harness.programs.programs import Program, start


@dataclass(frozen=True)
class TlsFleet:
    folder: Path
    secrets: Secrets
    control: Program
    node: Program

    def file(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")

    def command(self, *arguments: str) -> str:
        """A command's output; it must succeed."""
        token_file = str(self.secrets.operator_token_file)
        known = ("--ca", self.file("ca"), "--token-file", token_file)
        done = tallygate(*known, *arguments, "--control", self.control.address)
        assert done.status == 0, done.err
        return done.out

    def until_remain(self, tokens: str) -> None:
        """Wait until so many tokens remain of the trial: a node tells control by its next exchange."""
        for _ in turns():
            if f"{tokens} of 50,000 tokens remain" in self.command("service", "show", "acme/default-llama"):
                return

    def open_shop(self) -> None:
        """A model with a trial and a price, and an account whose default service has claimed the trial."""
        self.command("model", "create", "llama", "--trial-tokens", "50000")
        self.command("model", "publish-price", "llama", "--input", "0.20", "--output", "0.60")
        self.command("account", "create", "acme")
        self.command("service", "claim-trial", "acme/default-llama")

    def meter_token(self) -> Path:
        """The file of a token that may report for the account."""
        secret = self.folder / "meter.token"
        self.command("service-account", "create", "acme/gateway")
        self.command("member", "add", "acme", "serviceAccount:acme/gateway", "--role", "meter")
        self.command("token", "create", "acme/gateway", "--out", str(secret))
        return secret


async def start_control(folder: Path, directory: Path, secrets: Secrets) -> Program:
    """The control service, by the certificates in this folder."""
    tls = ["--tls-cert", f"{folder}/server.pem", "--tls-key", f"{folder}/server-key.pem"]
    mtls = ["--client-ca", f"{folder}/ca.pem", "--mtls-listen", "127.0.0.1:0"]
    listen = ["--listen", "127.0.0.1:0", "--database-url", f"sqlite:///{directory}/control.sqlite3"]
    arguments = [*tls, *mtls, *listen, *secrets.options, "--trust-domain", TRUST_DOMAIN]
    return await start("control_service", arguments, directory / "control.log", Security(folder / "ca.pem"))


async def start_node(folder: Path, directory: Path, control: str, *link: str) -> Program:
    """A metering node, which comes to control as `link` says."""
    tls = ["--tls-cert", f"{folder}/server.pem", "--tls-key", f"{folder}/server-key.pem"]
    mtls = ["--client-ca", f"{folder}/ca.pem", "--mtls-listen", "127.0.0.1:0"]
    listen = ["--listen", "127.0.0.1:0", "--database-url", f"sqlite:///{directory}/metering.sqlite3"]
    arguments = [*tls, *mtls, *listen, "--control", control, *link]
    return await start("metering_service", arguments, directory / "node.log", Security(folder / "ca.pem"))


@asynccontextmanager
async def tls_fleet(directory: Path) -> AsyncIterator[TlsFleet]:
    """Control and a node, which shows control its certificate."""
    folder = directory / "tls"
    made = tallygate("tls", "init", str(folder))
    assert made.status == 0, made.err
    async with AsyncExitStack() as stack:
        secrets = made_secrets(directory)
        control = await start_control(folder, directory, secrets)
        stack.push_async_callback(control.kill)
        name = f"{folder}/node-metering-1"
        link = ["--control-ca", f"{folder}/ca.pem", "--control-cert", f"{name}.pem", "--control-key", f"{name}-key.pem"]
        node = await start_node(folder, directory, control.mtls_address, *link)
        stack.push_async_callback(node.kill)
        yield TlsFleet(folder, secrets, control, node)
        await node.stop()
        await control.stop()
