"""The console: its first page, its slowest page in a large account, what an action takes, and its memory."""

import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from statistics import median
from typing import Final

import grpc
import psutil
from starlette.routing import Route

from benchmarks.accounts import ACCOUNT, DEFAULT_SERVICE, MODEL, set_up
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.populate import make_pattern, multiply
from benchmarks.populate_control import multiply_accounts
from benchmarks.targets import database_url, serve
from tallygate.console.pages import PAGES
from tallygate.control.v1 import lifecycle_service_pb2, lifecycle_service_pb2_grpc
from tests.harness.console.clerk import Clerk, clerk
from tests.harness.console.shop import ConsoleProgram, running_console

MODELS: Final = 200
FEW, MANY = 1_000, 100_000
SESSIONS: Final = 50
ACTIONS: Final = 10
FIRST_PAGE_MS, PAGE_MS, ACTION_MS, MEMORY_MIB = 1_000.0, 2_000.0, 50.0, 150.0
MIB: Final = 2**20
WORDS: Final = {
    "{account}": ACCOUNT.partition("/")[2],
    "{service}": DEFAULT_SERVICE,
    "{model}": MODEL.partition("/")[2],
}


@dataclass(frozen=True, slots=True)
class Fleet:
    """A pair that asks for no proof, and its console."""

    control: str
    services: list[str]
    console: ConsoleProgram


async def run(bench: Bench) -> None:
    """On SQLite: the first page and the action with 200 models and 1,000 services, the rest with 100,000 services."""
    scale = 100 if bench.plan.quick else 1
    async with AsyncExitStack() as stack:
        small = await _fleet(stack, bench, FEW // (10 if bench.plan.quick else 1))
        _first_page(bench, small)
        _action(bench, small)
    async with AsyncExitStack() as stack:
        large = await _fleet(stack, bench, MANY // scale)
        _slowest_page(bench, large)
        _memory(bench, large)


async def _fleet(stack: AsyncExitStack, bench: Bench, services: int) -> Fleet:
    urls = [
        await database_url(stack, bench.directory, "sqlite", bench.postgres, name) for name in ("control", "metering")
    ]
    control = await serve(stack, bench.directory, "control", ("--database-url", urls[0]))
    await set_up(control.address)
    await make_pattern(control.address, suspended=False)
    await control.stop()
    names = await multiply(urls[0], services)
    await multiply_accounts(urls[0], 1, MODELS)
    control = await serve(stack, bench.directory, "control", ("--database-url", urls[0]))
    node = await serve(stack, bench.directory, "metering", ("--control", control.address, "--database-url", urls[1]))
    console = stack.enter_context(running_console(bench.directory, control.address, node.address))
    return Fleet(control.address, names, console)


def _first_page(bench: Bench, fleet: Fleet) -> None:
    """From the press of the button to the last byte of the page, its style and its script."""
    times_ms = []
    for _ in range(bench.plan.rounds * 3):
        with clerk(fleet.console.address) as somebody:
            began_s = time.perf_counter()
            somebody.sign_in("")
            for path in (f"/{ACCOUNT}/models", "/static/console.css", "/static/console.js"):
                somebody.get(path)
            times_ms.append((time.perf_counter() - began_s) * 1_000)
    name = f"sign-in and first page, {MODELS} models, {len(fleet.services):,} services"
    bench.figures.append(_least(name, "ms", times_ms, FIRST_PAGE_MS))


def _action(bench: Bench, fleet: Fleet) -> None:
    """Pay-as-you-go is switched off for services, one after the other: by a form, and by the API itself."""
    beside_ms = []
    services = iter(fleet.services)
    with clerk(fleet.console.address) as somebody, grpc.insecure_channel(fleet.control) as channel:
        somebody.sign_in("")
        csrf, stub = somebody.csrf, lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        for _ in range(bench.plan.rounds * ACTIONS):
            began_s = time.perf_counter()
            stub.DisablePostpaid(lifecycle_service_pb2.DisablePostpaidRequest(name=next(services)))
            called_s = time.perf_counter()
            answer = somebody.post(f"/{next(services)}/disable-postpaid", csrf, idempotency_key=str(called_s))
            beside_ms.append((time.perf_counter() - called_s - (called_s - began_s)) * 1_000)
            assert answer.status_code == HTTPStatus.SEE_OTHER, answer.text
    bench.figures.append(_least("an action, beyond the call itself", "ms", beside_ms, ACTION_MS))


def _slowest_page(bench: Bench, fleet: Fleet) -> None:
    with clerk(fleet.console.address) as somebody:
        somebody.sign_in("")
        times_ms = {path: [_time_ms(somebody, path) for _ in range(bench.plan.rounds)] for path in _paths(fleet)}
    slowest = max(times_ms, key=lambda path: median(times_ms[path]))
    name = f"slowest page of {len(times_ms)}, {len(fleet.services):,} services in the account"
    figure = _least(name, "ms", times_ms[slowest], PAGE_MS)
    figure.notes.append(f"the slowest is {slowest}")
    bench.figures.append(figure)


def _memory(bench: Bench, fleet: Fleet) -> None:
    """Resident, after each of the sessions has read each page."""
    for _ in range(SESSIONS):
        with clerk(fleet.console.address) as somebody:
            somebody.sign_in("")
            for path in _paths(fleet):
                somebody.get(path)
    used = psutil.Process(fleet.console.pid).memory_info().rss / MIB
    bench.figures.append(_least(f"memory with {SESSIONS} sessions", "MiB", [used], MEMORY_MIB))


def _paths(fleet: Fleet) -> Iterator[str]:
    """Pages about an account, a model or a service, and those about the fleet."""
    for route in (route for page in PAGES for route in page.ROUTES):
        path = _filled(route)
        if "{" not in path:
            yield path
    yield f"/{fleet.services[0]}"


def _filled(route: Route) -> str:
    path = route.path
    for part, word in WORDS.items():
        path = path.replace(part, word)
    return path


def _time_ms(somebody: Clerk, path: str) -> float:
    began_s = time.perf_counter()
    answer = somebody.get(path)
    assert answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, (path, answer.text)
    return (time.perf_counter() - began_s) * 1_000


def _least(name: str, unit: str, samples: list[float], most: float) -> Figure:
    return Figure("console", name, unit, samples, [], most, most / 2, lower_is_better=True)
