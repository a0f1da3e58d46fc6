"""The console over a real control service and nodes whose records and counters a test writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import grpc
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import override

from control_service.bootstrap import Access
from metering_service.api.errors import translate
from metering_service.api.usage_servicer import UsageServicer
from metering_service.domain.counts import Counts
from metering_service.domain.denial_log import DenialLog
from metering_service.storage import MIGRATIONS, SqlRecorder, SqlUsageReader
from metering_service.usecases.ports import Running
from tallygate._access.rights import Right
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tallygate._server.clock import ManualClock
from tallygate._server.database.engine import create_engine
from tallygate._server.grpc.gate import Gate
from tallygate._server.grpc.server import GrpcServer
from tallygate.metering.v1 import (
    diagnostics_service_pb2,
    diagnostics_service_pb2_grpc,
    usage_service_pb2_grpc,
)
from tallygate.metering.v1.node_traffic_pb2 import NodeTraffic
from tests.harness.console.console_harness import Browser, console_of
from tests.harness.metering.records import NODE, NOON_US, batch
from tests.harness.migrated import migrated_url
from tests.harness.wire.control_fleet import Control, running_control
from tests.harness.wire.known_callers import KnownCallers, presenting, token_of

CALLERS: Final[Mapping[str, tuple[Right, ...]]] = {
    "olga": (Right(Role.OPERATOR, PLATFORM),),
    "vera": (Right(Role.VIEWER, Scope("acme")),),
    "rita": (Right(Role.TEAM_MEMBER, Scope("acme", "red")),),
    "otto": (Right(Role.OWNER, Scope("other")),),
}
RUNNING: Final = Running(2, Counts(input=5, output=6))
"""Requests that run on every node."""


@dataclass
class FakeNode(diagnostics_service_pb2_grpc.DiagnosticsServiceServicer):
    """A node that says what a test gives it to say. `denials`: those that it remembers."""

    denials: DenialLog = field(default_factory=lambda: DenialLog(NOON_US))
    traffic: NodeTraffic = field(default_factory=NodeTraffic)

    @override
    async def GetDiagnostics(
        self, request: diagnostics_service_pb2.GetDiagnosticsRequest, context: Any
    ) -> diagnostics_service_pb2.GetDiagnosticsResponse:
        return diagnostics_service_pb2.GetDiagnosticsResponse()

    @override
    async def GetTraffic(
        self, request: diagnostics_service_pb2.GetTrafficRequest, context: Any
    ) -> diagnostics_service_pb2.GetTrafficResponse:
        return diagnostics_service_pb2.GetTrafficResponse(traffic=self.traffic)


@dataclass
class MeteredStage:
    """The console, the control service and the nodes behind it, and the clock of the first two: noon."""

    app: Any
    control: Control
    clock: ManualClock
    nodes: Mapping[str, FakeNode]
    engine: AsyncEngine
    usage: usage_service_pb2_grpc.UsageServiceAsyncStub

    async def write(self, *parts: object) -> None:
        """One commit to the database that the nodes share."""
        recorder = SqlRecorder(self.engine, lambda: "id")
        await recorder.commit(NODE, await recorder.register_node(NODE), batch(1, *parts))

    async def signed_in(self, name: str) -> Browser:
        """The browser of one of `CALLERS`."""
        browser = Browser(self.app)
        assert (await browser.sign_in(token_of(name))).status_code == 303
        return browser


@asynccontextmanager
async def metered_stage(directory: Path, node_count: int = 1) -> AsyncIterator[MeteredStage]:
    """Account `acme` with money, and a model with a price; so many nodes over one database with nothing in it."""
    clock, known = ManualClock(NOON_US), KnownCallers(CALLERS)
    async with AsyncExitStack() as stack:
        engine = create_engine(migrated_url(directory / "metering.sqlite3", MIGRATIONS))
        stack.push_async_callback(engine.dispose)
        control = await stack.enter_async_context(
            running_control(directory, clock, Access(authenticator=known), operator="olga")
        )
        await control.stock()
        nodes = [FakeNode() for _ in range(node_count)]
        addresses = [await stack.enter_async_context(_serving(engine, known, node, clock)) for node in nodes]
        app = await stack.enter_async_context(console_of(control.address, ",".join(addresses), clock))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(addresses[0]))
        stub: Any = usage_service_pb2_grpc.UsageServiceStub(channel)
        yield MeteredStage(app, control, clock, dict(zip(addresses, nodes, strict=True)), engine, stub)


AS_OPERATOR: Final = presenting("olga")
"""Metadata of calls that a test makes itself."""


@asynccontextmanager
async def _serving(engine: AsyncEngine, known: KnownCallers, node: FakeNode, clock: ManualClock) -> AsyncIterator[str]:
    usage = UsageServicer(SqlUsageReader(engine), lambda _services, _scope: RUNNING, clock.now_us, node.denials)

    def add_servicers(server: grpc.aio.Server) -> None:
        usage_service_pb2_grpc.add_UsageServiceServicer_to_server(usage, server)
        diagnostics_service_pb2_grpc.add_DiagnosticsServiceServicer_to_server(node, server)

    server = GrpcServer(
        listen="127.0.0.1:0",
        insecure=False,
        service_names=[],
        add_servicers=add_servicers,
        translate=translate,
        gate=Gate(known),
    )
    try:
        yield await server.start()
    finally:
        await server.stop(0)


def rows_of(page: str) -> list[list[str]]:
    """The rows of all tables of a page: texts of their cells, amounts as nanos."""
    reader = _Tables()
    reader.feed(page)
    return [[" ".join(cell.split()) for cell in row] for row in reader.rows]


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._in_cell = self._in_data = False

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True
        elif tag == "data" and self._in_cell:
            self.rows[-1][-1] += dict(attrs)["value"] or ""
            self._in_data = True

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False
        elif tag == "data":
            self._in_data = False

    @override
    def handle_data(self, data: str) -> None:
        if self._in_cell and not self._in_data:
            self.rows[-1][-1] += data
