"""Takes the pictures of docs/console.md: pages of the console in front of the demo's own pair, by a real Chromium."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
from playwright.async_api import Browser

from tallygate.client import MeteringClient
from tallygate.control.v1 import (
    api_key_pb2,
    budget_pb2,
    key_service_pb2,
    key_service_pb2_grpc,
    limit_service_pb2,
    limit_service_pb2_grpc,
)
from tallygate.metering.v1 import usage_service_pb2, usage_service_pb2_grpc
from tests.harness.console.chromium import NONE_THERE, chromium, running_chromium
from tests.harness.console.visitor import visiting
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import TALLYGATE, environment

FOLDER: Final = Path(__file__).parents[1] / "docs" / "images" / "console"
BYTES_MAX: Final = 110_000
NARROW, WIDE = (360, 760), (1_180, 760)
ACCOUNT: Final = "accounts/acme"
SERVICE: Final = f"{ACCOUNT}/services/default-llama-3.1-70b"
ADDRESSES: Final = re.compile(r"control on (\S+), metering on (\S+), data in|console stays open at (\S+) until")


class Shot(NamedTuple):
    """A picture: its name, the page, how it is looked at."""

    name: str
    path: str
    scheme: Any = "light"
    size: tuple[int, int] = WIDE


SHOTS: Final = (
    Shot("models", f"/{ACCOUNT}/models"),
    Shot("services", f"/{ACCOUNT}/services"),
    Shot("service", f"/{SERVICE}"),
    Shot("service-narrow", f"/{SERVICE}", size=NARROW),
    Shot("service-dark", f"/{ACCOUNT}/services/chat-prod", "dark"),
    Shot("reserve", f"/{ACCOUNT}/services/chat-prod/reserve"),
    Shot("usage", f"/{ACCOUNT}/usage"),
    Shot("usage-dark-narrow", f"/{ACCOUNT}/usage", "dark", NARROW),
    Shot("request", ""),
    Shot("keys", f"/{ACCOUNT}/keys"),
    Shot("money", f"/{ACCOUNT}/money"),
    Shot("statement", f"/{ACCOUNT}/statements"),
    Shot("budgets", f"/{ACCOUNT}/budgets"),
    Shot("nodes", "/operations/nodes"),
    Shot("catalogue", "/operations/models"),
)
TRAFFIC: Final = Shot("traffic", "/traffic")
LOOK_S: Final = 15.0
"""Time for which the page of traffic is looked at, while requests come."""


def main() -> None:
    """Status 1 where there is no browser, or a picture is too big."""
    path = chromium()
    if path is None:
        sys.exit(NONE_THERE)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with _demo() as (control, metering, home):
        _make_more(control)
        request_id = _some_request(metering)
        asyncio.run(_take(path, home, metering, f"/{ACCOUNT}/requests?request_id={request_id}"))
    big = [picture.name for picture in FOLDER.glob("*.png") if picture.stat().st_size > BYTES_MAX]
    sys.exit(f"More than {BYTES_MAX} bytes: {', '.join(big)}" if big else 0)


@contextmanager
def _demo() -> Iterator[tuple[str, str, str]]:
    """The demo at its end: where control, a node, and the console are."""
    command = [*TALLYGATE, "demo", "--fast", "--console"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as demo:
        assert demo.stdout is not None
        found: list[str] = []
        try:
            for line in demo.stdout:
                match = ADDRESSES.search(line)
                found += [address for address in match.groups() if address] if match else []
                if match and match[3]:
                    break
            control, metering, home = found
            yield control, metering, home
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(PATIENCE_S)


def _make_more(control: str) -> None:
    """Keys and budgets, which the demo has none of."""
    with grpc.insecure_channel(control) as channel:
        keys, limits = key_service_pb2_grpc.KeyServiceStub(channel), limit_service_pb2_grpc.LimitServiceStub(channel)
        for name, display_name in (("web", "Web shop"), ("nightly", "Nightly evaluation"), ("laptop", "Ada's laptop")):
            scope = api_key_pb2.KeyScope(all_services=True, all_models=True)
            keys.CreateKey(
                key_service_pb2.CreateKeyRequest(name=f"{ACCOUNT}/keys/{name}", display_name=display_name, scope=scope)
            )
        for name, place, tokens in (("all", ACCOUNT, 5_000_000), ("default", SERVICE, 2_000_000)):
            limits.CreateBudget(
                limit_service_pb2.CreateBudgetRequest(
                    name=f"{ACCOUNT}/budgets/{name}",
                    place=place,
                    unit=budget_pb2.BUDGET_UNIT_TOKENS,
                    amount_units=tokens,
                    period=budget_pb2.CALENDAR_PERIOD_MONTH,
                )
            )


def _some_request(metering: str) -> str:
    """The id of the request that cost most."""
    request = usage_service_pb2.ListRequestUsageRequest(service=SERVICE, page_size=1_000)
    with grpc.insecure_channel(metering) as channel:
        answer = usage_service_pb2_grpc.UsageServiceStub(channel).ListRequestUsage(request)
    return str(max(answer.request_usages, key=lambda one: one.receipt.cost_nanos).request_id)


async def _take(path: str, home: str, metering: str, request_page: str) -> None:
    async with running_chromium(path) as browser:
        for shot in SHOTS:
            await _shoot(browser, home, shot._replace(path=shot.path or request_page))
        async with MeteringClient(metering) as client, asyncio.TaskGroup() as group:
            ends = asyncio.get_running_loop().time() + LOOK_S
            group.create_task(_shoot(browser, home, TRAFFIC, after_s=LOOK_S - 2))
            for number in range(6):
                group.create_task(_ask(client, number, ends))


async def _ask(client: MeteringClient, caller: int, ends: float) -> None:
    """One request after the other, each a little longer."""
    number = 0
    while asyncio.get_running_loop().time() < ends:
        number += 1
        async with client.request(SERVICE, input_tokens=200 + 40 * caller, max_output_tokens=400) as request:
            for _ in range(5 + number % 9):
                await asyncio.sleep(0.05)
                request.output(20)


async def _shoot(browser: Browser, home: str, shot: Shot, after_s: float = 0.5) -> None:
    width, height = shot.size
    options = {"color_scheme": shot.scheme, "viewport": {"width": width, "height": height}}
    async with visiting(browser, home, locale="en-GB", timezone_id="Europe/Berlin", **options) as visitor:
        await visitor.be("")
        await visitor.go(shot.path)
        await asyncio.sleep(after_s)
        await visitor.page.screenshot(path=FOLDER / f"{shot.name}.png", animations="disabled")


if __name__ == "__main__":
    main()
