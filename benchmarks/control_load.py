"""What people ask of the control service: one method, of accounts drawn at random, as fast as it is answered."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

from benchmarks.job import Job, Result
from benchmarks.populate import PATTERN
from benchmarks.populate_control import account, model_id
from benchmarks.processor import Meter
from benchmarks.spread import percentiles
from benchmarks.stream_load import fill
from tallygate._channel import open_aio_channel
from tallygate._security import Security
from tallygate.control.v1 import account_service_pb2, account_service_pb2_grpc, lifecycle_service_pb2_grpc
from tallygate.control.v1 import lifecycle_service_pb2 as pb

IN_FLIGHT: Final = 16
PAGE: Final = 50
"""Number of services that are listed at once."""
MODELS: Final = 200


class Calls:
    """Calls of one run. `accounts`: number of accounts that there are."""

    def __init__(self, channel: Any, accounts: int, run: str) -> None:
        self._lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        self._accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        self._count = accounts
        self._run = run
        self._lots = Random(run)  # noqa: S311  # a load, and not a secret
        self._number = 0

    def _account(self) -> str:
        return account(self._lots.randrange(self._count))

    def _default(self) -> str:
        return f"{self._account()}/services/default-{model_id(self._lots.randrange(MODELS))}"

    async def get(self) -> None:
        """A service that is stored, or one that is not."""
        self._number += 1
        name = self._default() if self._number % 2 else f"{self._account()}/services/{PATTERN}"
        await self._lifecycle.GetInferenceService(pb.GetInferenceServiceRequest(name=name))

    async def list_account(self) -> None:
        """A page of an account's services."""
        await self._lifecycle.ListInferenceServices(
            pb.ListInferenceServicesRequest(account=self._account(), page_size=PAGE)
        )

    async def list_all(self) -> None:
        """The services of all accounts, two pages: the second begins where a page's token says."""
        first = await self._lifecycle.ListInferenceServices(pb.ListInferenceServicesRequest(page_size=PAGE))
        request = pb.ListInferenceServicesRequest(page_size=PAGE, page_token=first.next_page_token)
        await self._lifecycle.ListInferenceServices(request)

    async def enable_postpaid(self) -> None:
        """Of a default service, which is stored by it."""
        await self._lifecycle.EnablePostpaid(pb.EnablePostpaidRequest(name=self._default()))

    async def top_up(self) -> None:
        """Money for an account."""
        request = account_service_pb2.TopUpAccountRequest(name=self._account(), amount_nanos=10**9)
        await self._accounts.TopUpAccount(request)

    async def create(self) -> None:
        """A custom service."""
        self._number += 1
        name = f"{self._account()}/services/c{self._run}-{self._number}"
        model = f"models/{model_id(self._lots.randrange(MODELS))}"
        await self._lifecycle.CreateInferenceService(pb.CreateInferenceServiceRequest(name=name, model=model))


METHODS: Final[dict[str, Callable[[Calls], Callable[[], Awaitable[None]]]]] = {
    "GetInferenceService": lambda calls: calls.get,
    "ListInferenceServices of an account": lambda calls: calls.list_account,
    "ListInferenceServices of all, two pages": lambda calls: calls.list_all,
    "EnablePostpaid": lambda calls: calls.enable_postpaid,
    "TopUpAccount": lambda calls: calls.top_up,
    "CreateInferenceService": lambda calls: calls.create,
}


async def run_control(job: Job) -> Result:
    """`requests`: the number of accounts. The rate is of calls."""
    meter, result = Meter(job.server_pids), Result()
    latencies_ms: list[float] = []
    stop = asyncio.Event()
    async with open_aio_channel(job.addresses[0], Security(**job.security)) as channel:
        call = METHODS[job.method](Calls(channel, job.requests, job.run))

        async def caller() -> None:
            while not stop.is_set():
                began_s = time.perf_counter()
                await call()
                latencies_ms.append((time.perf_counter() - began_s) * 1_000)

        callers = asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        await asyncio.sleep(job.warm_up_seconds)
        latencies_ms.clear()
        before = meter.read()
        await asyncio.sleep(job.seconds)
        after, count = meter.read(), len(latencies_ms)
        stop.set()
        await callers
    if not count:
        raise RuntimeError("no call was answered in the time of the measurement")
    fill(result, before, after, count)
    result.latency_ms = percentiles(latencies_ms[:count])
    return result
