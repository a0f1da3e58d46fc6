"""Servers that ask for proof: a control service and its nodes, their certificates, and tokens that open them."""

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.accounts import SERVICE, set_up
from benchmarks.bench import Bench
from benchmarks.populate_access import make_meter, multiply_access
from benchmarks.targets import ANY_PORT, Target, serve
from tests.harness.programs.guarded import made_secrets
from tests.harness.programs.programs import Program
from tests.harness.tls import METER_URI, Certificates


@dataclass(frozen=True, slots=True)
class Shape:
    """What a fleet is. `certificates`: of a fleet that speaks TLS; `mtls_listen`: where callers with certificates come.

    `tokens`, `teams`: so many more in the control database.
    """

    certificates: Certificates | None = None
    mtls_listen: str = ANY_PORT
    tokens: int = 0
    teams: int = 0
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Guarded:
    """A fleet that runs. `node`: reached with a right token, by mTLS where there is TLS; `nodes`: each by itself.

    `door`: the first node at its other address, and `control`: the control service, both without a token.
    """

    node: Target
    nodes: list[Target]
    door: Target
    control: Target
    operator: Mapping[str, str] = field(repr=False)
    tokens: list[str] = field(repr=False)


def tls_options(certificates: Certificates) -> list[str]:
    """Of a server."""
    pair = certificates.server()
    return ["--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)]


@asynccontextmanager
async def guarded(bench: Bench, shape: Shape) -> AsyncIterator[Guarded]:
    """A control service and its nodes; when they are left, what they recorded is compared with what they were told."""
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=bench.directory)))
        secrets, url = made_secrets(home), f"sqlite:///{home}/control.sqlite3"
        operator = {"token": secrets.operator_token}
        told = ("--database-url", url, *secrets.options)
        control = await serve(stack, home, "control", told)
        await set_up(control.address, operator)
        tokens = [(await make_meter(control.address, operator)).secret]
        if shape.tokens:
            await control.stop()
            tokens = await multiply_access(url, secrets.seal, shape.tokens, shape.teams)
            control = await serve(stack, home, "control", told)
        link = ("--control", control.address, "--control-token-file", str(secrets.operator_token_file), "--auth")
        nodes = [await _node(stack, home, shape, number, link) for number in range(shape.nodes)]
        fleet = _fleet(shape, control, nodes, operator, tokens)
        yield fleet
        await bench.reconcile("a fleet that asks for proof", fleet.node)


async def _node(stack: AsyncExitStack, home: Path, shape: Shape, number: int, link: tuple[str, ...]) -> Program:
    options = ["--node-name", f"node-{number}", "--database-url", f"sqlite:///{home}/metering.sqlite3", *link]
    known: dict[str, str] = {}
    if shape.certificates is not None:
        options += tls_options(shape.certificates)
        options += ["--client-ca", str(shape.certificates.ca), "--mtls-listen", shape.mtls_listen]
        known = {"ca_file": str(shape.certificates.ca)}
    return await serve(stack, home, "metering", options, known)


def _fleet(
    shape: Shape, control: Program, nodes: list[Program], operator: Mapping[str, str], tokens: list[str]
) -> Guarded:
    known: dict[str, str] = {}
    shown: dict[str, str] = {}
    if shape.certificates is not None:
        pair = shape.certificates.client(METER_URI, "meter")
        known = {"ca_file": str(shape.certificates.ca)}
        shown = {**known, "cert_file": str(pair.certificate), "key_file": str(pair.key)}
    proof, reader = {**shown, "token": tokens[0]}, {**shown, **operator}
    at = [node.mtls_address or node.address for node in nodes]
    targets = [
        Target([address], [node.pid], [SERVICE], control.address, security=proof, reader=reader)
        for address, node in zip(at, nodes, strict=True)
    ]
    door = replace(targets[0], addresses=[nodes[0].address], pids=[nodes[0].pid, control.pid], security=known)
    behind = Target([control.address], [control.pid], [SERVICE], control.address)
    return Guarded(targets[0], targets, door, behind, operator, tokens)
