"""The fake engine behind the middleware, under uvicorn on a free port, and the real services that meter it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import httpx2
import openai
import uvicorn

from tallygate.client import ClientSettings, MeteringClient
from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
)
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.asgi_types import App
from tallygate.integrations.proxy.app import ProxyApp, ProxySettings, breaking_off
from tallygate.integrations.proxy.upstreams import read_upstreams
from tallygate.metering.v1 import request_usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from tests.harness.asgi.fake_engine import FakeEngine, input_tokens
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S, until
from tests.harness.programs.programs import Pair

SERVICE = "accounts/acme/services/default-llama"
TRIAL = "accounts/trial/services/default-llama"
SERVICES = {
    "models": {"Meta/Llama": "llama"},
    "keys": {"sk-acme": "acme", "sk-trial": "trial", "sk-poor": "poor"},
}
SHUTDOWN_S = 10
RETRIES_MAX = 50


@dataclass(eq=False)
class Serving:
    """What tests have in hand."""

    engine: FakeEngine
    middleware: MeteringMiddleware
    metering: MeteringClient
    url: str

    def client(self, api_key: str = "sk-acme", *, max_retries: int = RETRIES_MAX) -> openai.AsyncOpenAI:
        """A client that repeats what is refused for now, as the answer tells it to, and no failure of the server."""
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1",
            api_key=api_key,
            max_retries=max_retries,
            timeout=PATIENCE_S,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [_let_failures_show]}),
        )


async def _let_failures_show(response: httpx2.Response) -> None:
    """Nothing is refused with a 500: what raised it once is not to be hidden by a second try."""
    if response.status_code == httpx2.codes.INTERNAL_SERVER_ERROR:
        response.headers["x-should-retry"] = "false"


@asynccontextmanager
async def uvicorn_serving(app: App, *, lifespan: str = "on") -> AsyncIterator[str]:
    """Serves an app; gives its URL."""
    config = uvicorn.Config(app, lifespan=lifespan, ws="none", log_config=None, timeout_graceful_shutdown=SHUTDOWN_S)  # type: ignore[arg-type]
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        await server.startup(sockets=[listener])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            await server.shutdown(sockets=[listener])


@asynccontextmanager
async def serving(
    addresses: Sequence[str], *, lifespan: str = "on", settings: ClientSettings = PATIENT
) -> AsyncIterator[Serving]:
    """Serves the fake engine, metered by nodes."""
    engine = FakeEngine()
    metering = MeteringClient(addresses, settings=settings)
    middleware = MeteringMiddleware(engine, client=metering, services=SERVICES, count_input_tokens=input_tokens)
    async with uvicorn_serving(middleware, lifespan=lifespan) as url:
        yield Serving(engine, middleware, metering, url)


@asynccontextmanager
async def serving_by_proxy(addresses: Sequence[str]) -> AsyncIterator[Serving]:
    """Serves the fake engine by itself, and in front of it the proxy, metered by nodes."""
    engine = FakeEngine()
    metering = MeteringClient(addresses, settings=PATIENT)
    async with uvicorn_serving(engine, lifespan="off") as upstream:
        proxy = ProxyApp(read_upstreams([upstream]), ProxySettings())
        middleware = MeteringMiddleware(proxy, client=metering, services=SERVICES, count_input_tokens=input_tokens)
        async with uvicorn_serving(breaking_off(middleware)) as url:
            yield Serving(engine, middleware, metering, url)


class People:
    """What people do in the control service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        self.catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)
        self.lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)

    async def prepare(self) -> None:
        """A model with a price; accounts with money and pay-as-you-go, with a trial, and with nothing at all."""
        model = catalog_service_pb2.CreateModelRequest(name="models/llama")
        model.trial_offer.quota_tokens = 200
        await self.catalog.CreateModel(model)
        price = catalog_service_pb2.PublishPriceRequest(
            model="models/llama",
            input_nanos_per_million_tokens=1_000_000_000,
            output_nanos_per_million_tokens=2_000_000_000,
        )
        await self.catalog.PublishPrice(price)
        for account in ("accounts/acme", "accounts/trial", "accounts/poor"):
            await self.accounts.CreateAccount(account_service_pb2.CreateAccountRequest(name=account))
        money = account_service_pb2.TopUpAccountRequest(name="accounts/acme", amount_nanos=5_000_000_000)
        await self.accounts.TopUpAccount(money)
        await self.lifecycle.EnablePostpaid(lifecycle_service_pb2.EnablePostpaidRequest(name=SERVICE))
        await self.lifecycle.ClaimFreeTrial(lifecycle_service_pb2.ClaimFreeTrialRequest(name=TRIAL))


@asynccontextmanager
async def people(pair: Pair) -> AsyncIterator[People]:
    """A connection to the control service."""
    async with grpc.aio.insecure_channel(pair.control.address) as channel:
        yield People(channel)


async def ready(client: openai.AsyncOpenAI) -> None:
    """Until the fleet knows the service: refusals that pass by themselves are repeated as the server says."""
    patient = client.with_options(max_retries=RETRIES_MAX)
    await patient.chat.completions.create(model="llama", messages=[{"role": "user", "content": "?"}], max_tokens=1)


async def records(served: Serving, address: str, service: str = SERVICE) -> list[request_usage_pb2.RequestUsage]:
    """All records of a service, once all that the middleware has said is on record."""
    await until(lambda: not served.metering.open_requests)
    found: list[request_usage_pb2.RequestUsage] = []
    page = usage_service_pb2.ListRequestUsageRequest(service=service, page_size=1_000)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = usage_service_pb2_grpc.UsageServiceStub(channel)
        while True:
            answer = await stub.ListRequestUsage(page)
            found += answer.request_usages
            page.page_token = answer.next_page_token
            if not page.page_token:
                return found
