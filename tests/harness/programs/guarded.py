"""A control service and metering nodes that ask for proof, and the tokens that open them."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from control_service.domain.token_seal import RANDOM_ID_BYTES, TokenSeal
from control_service.storage.database import MIGRATIONS, SqlDatabase
from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tallygate._access.token_text import SECRET_BYTES, token_text
from tallygate._security import Security
from tallygate._server.database.engine import create_engine
from tests.harness.control.access import ACME, Made, bound, made_token, store
from tests.harness.migrated import migrated_url
from tests.harness.programs.programs import Program, start

PEPPER_BYTES = 32


@dataclass(frozen=True)
class Secrets:
    """The files that a fleet which asks for proof is started with."""

    pepper_file: Path
    operator_token_file: Path

    @property
    def seal(self) -> TokenSeal:
        return TokenSeal(self.pepper_file.read_bytes())

    @property
    def operator_token(self) -> str:
        return self.operator_token_file.read_text()

    @property
    def options(self) -> list[str]:
        """Of the control service."""
        return ["--pepper-file", str(self.pepper_file), "--operator-token-file", str(self.operator_token_file)]


def made_secrets(directory: Path) -> Secrets:
    """A pepper and the first operator's token, for their owner only."""
    made = Secrets(directory / "pepper", directory / "operator.token")
    for file in (made.pepper_file, made.operator_token_file):
        file.touch(mode=0o600)
    made.pepper_file.write_bytes(secrets.token_bytes(PEPPER_BYTES))
    token_id = made.seal.new_id(secrets.token_bytes(RANDOM_ID_BYTES))
    made.operator_token_file.write_text(token_text(token_id, secrets.token_bytes(SECRET_BYTES)))
    return made


@dataclass(eq=False)
class GuardedFleet:
    """The programs; and the control database, in which another replica might change what it likes."""

    directory: Path
    secrets: Secrets
    database: SqlDatabase
    control: Program
    nodes: list[Program] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def operator(self) -> Security:
        """The first operator, as a client of control."""
        return Security(token=self.secrets.operator_token)

    async def start_node(self, name: str, listen: str = "127.0.0.1:0", *more: str) -> Program:
        arguments = [
            *("--listen", listen, "--control", self.control.address, "--node-name", name, "--auth"),
            *("--control-token-file", str(self.secrets.operator_token_file)),
            *("--database-url", f"sqlite:///{self.directory}/metering.sqlite3", *more),
        ]
        node = await start("metering_service", arguments, self.directory / f"{name}.log")
        self.nodes.append(node)
        return node

    async def token(self, scope: Scope = ACME, role: Role = Role.METER) -> Made:
        """A token of a service account of its own, which has this role."""
        (made,) = await self.tokens(1, scope, role)
        return made

    async def tokens(self, number: int, scope: Scope = ACME, role: Role = Role.METER) -> list[Made]:
        """So many, each of an account of its own."""
        numbers = [next(self._numbers) for _ in range(number)]
        owners = [f"serviceAccount:accounts/acme/serviceAccounts/robot-{each}" for each in numbers]
        made = [made_token(owner, each, self.secrets.seal) for owner, each in zip(owners, numbers, strict=True)]
        async with self.database.writing() as tx:
            await store(tx, *(one.token for one in made))
            await store(tx, *(bound(owner, role, scope, owner.rpartition("/")[2]) for owner in owners))
        return made

    async def revoke(self, made: Made) -> None:
        """Disable a token, as a replica of control does."""
        async with self.database.writing() as tx:
            await tx.access_tokens.save(replace(made.token, disabled=True))
            await tx.access_versions.note([], [made.token.token_id], await tx.next_config_version())

    async def stop(self) -> None:
        for program in (*self.nodes, self.control):
            await program.stop()


@asynccontextmanager
async def guarded_fleet(directory: Path) -> AsyncIterator[GuardedFleet]:
    """A control service that asks for proof, over SQLite, and no node yet."""
    made, url = made_secrets(directory), migrated_url(directory / "control.sqlite3", MIGRATIONS)
    async with AsyncExitStack() as stack:
        arguments = ["--listen", "127.0.0.1:0", "--database-url", url, *made.options]
        control = await start("control_service", arguments, directory / "control.log")
        stack.push_async_callback(control.kill)
        engine = create_engine(url)
        stack.push_async_callback(engine.dispose)
        fleet = GuardedFleet(directory, made, SqlDatabase(engine), control)
        try:
            yield fleet
            await fleet.stop()
        finally:
            for node in fleet.nodes:
                await node.kill()
