"""The console over a real control service in this process, and a browser without scripts."""

from __future__ import annotations

import asyncio
import html
import itertools
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc
import httpx2

from tallygate._channel import Channels
from tallygate._server.clock import Clock, ManualClock
from tallygate.access.v1 import role_pb2
from tallygate.console.app import build
from tallygate.console.site import ConsoleSettings, Site
from tallygate.control.v1 import access_service_pb2, token_service_pb2
from tests.harness.wire.callers import OPERATOR_TOKEN, guarded_control
from tests.harness.wire.control_fleet import Control

NOWHERE: Final = "127.0.0.1:1"
"""Address at which nobody listens."""
DATABASE: Final = "control.sqlite3"
BASE: Final = "http://127.0.0.1:7080"
_HIDDEN: Final = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


class Browser:
    """Somebody's browser: it keeps cookies, goes where it is sent, and sends forms of pages that it has read."""

    def __init__(self, app: Any, base: str = BASE) -> None:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=True)
        self.client = httpx2.AsyncClient(transport=transport, base_url=base)

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.client.get(path, **options)

    async def sign_in(self, token: str, back: str = "/") -> httpx2.Response:
        page = await self.get("/sign-in", params={"next": back})
        return await self.send("/sign-in", page, token=token)

    async def submit(self, path: str, **fields: str) -> httpx2.Response:
        """Reads the page and sends its form, with this typed into it."""
        return await self.send(path, await self.get(path), **fields)

    async def send(self, path: str, page: httpx2.Response, **fields: str) -> httpx2.Response:
        """Sends the form of a page that was read before, the last one where there are several."""
        form = page.text[page.text.rindex('<form method="post"') :]
        hidden = {name: html.unescape(value) for name, value in _HIDDEN.findall(form)}
        return await self.client.post(path, data={**hidden, **fields})


@asynccontextmanager
async def console_of(
    control: str, metering: str = NOWHERE, clock: Clock | None = None, settings: ConsoleSettings | None = None
) -> AsyncIterator[Any]:
    """A console of these services; its texts that nobody can guess count up."""
    numbers = itertools.count(1)
    app = build(
        settings or ConsoleSettings(),
        control.split(","),
        metering.split(","),
        Channels(),
        clock=clock or ManualClock(),
        random_text=lambda: f"random-{next(numbers):04}",
    )
    async with app.router.lifespan_context(app):
        yield app


@dataclass
class Stage:
    """The console, the control service behind it, and the clock of both."""

    app: Any
    control: Control
    clock: ManualClock

    def browser(self) -> Browser:
        return Browser(self.app)

    async def signed_in(self, token: str = OPERATOR_TOKEN) -> Browser:
        browser = self.browser()
        assert (await browser.sign_in(token)).status_code == 303
        return browser

    async def token_of(self, role: role_pb2.Role.ValueType) -> str:
        """The token of a new service account with this role in the account."""
        name = f"accounts/acme/serviceAccounts/{role_pb2.Role.Name(role).lower().replace('_', '-')}"
        await self.control.tokens.CreateServiceAccount(token_service_pb2.CreateServiceAccountRequest(name=name))
        binding = access_service_pb2.CreateBindingRequest(
            scope="accounts/acme", member=f"serviceAccount:{name}", role=role
        )
        await self.control.access.CreateBinding(binding)
        request = token_service_pb2.CreateAccessTokenRequest(service_account=name)
        return str((await self.control.tokens.CreateAccessToken(request)).secret)

    @contextmanager
    def control_away(self) -> Iterator[None]:
        """Meanwhile nobody listens where the console looks for the control service."""
        with control_away(self.app):
            yield


_stocked: list[bytes] = []


async def _copy_stock(directory: Path) -> None:
    """A database with what every test begins with; it is made once, since that takes longer than most tests."""
    if not _stocked:
        with TemporaryDirectory() as name:
            made = Path(name)
            async with guarded_control(made, ManualClock()) as control:
                await control.stock()
            database = sqlite3.connect(made / DATABASE)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.close()
            _stocked.append((made / DATABASE).read_bytes())
    (directory / DATABASE).write_bytes(_stocked[0])


@asynccontextmanager
async def console_stage(directory: Path, settings: ConsoleSettings | None = None) -> AsyncIterator[Stage]:
    """A console over a control service that asks for proof: `acme` has money, `llama` a price and a trial."""
    clock = ManualClock()
    await _copy_stock(directory)
    async with (
        guarded_control(directory, clock) as control,
        console_of(control.address, clock=clock, settings=settings) as app,
    ):
        yield Stage(app, control, clock)


async def add_row(directory: Path, table: str, **values: object) -> None:
    """A row without the calls that would have led to it; in a thread, since control may be about to commit."""

    def add() -> None:
        marks = ", ".join("?" * len(values))
        statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"  # noqa: S608  # names that tests write
        with closing(sqlite3.connect(directory / DATABASE)) as database, database:
            database.execute(statement, tuple(values.values()))

    await asyncio.to_thread(add)


@contextmanager
def control_away(app: Any) -> Iterator[None]:
    """Meanwhile nobody listens where this console looks for the control service."""
    (line,) = site_of(app).control._lines
    channel, line._channel = line._channel, grpc.aio.insecure_channel(NOWHERE)
    try:
        yield
    finally:
        line._channel = channel


def site_of(app: Any) -> Site:
    """What all requests of a console share."""
    site: Site = app.state.site
    return site
