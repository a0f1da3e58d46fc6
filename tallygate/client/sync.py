"""The synchronous client, for programs of threads: the asynchronous one on a thread of its own.

Counting a token stays on the calling thread and takes no lock. Every report crosses over to the client's event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack

from tallygate._security import PLAIN, Security
from tallygate.client.client import MeteringClient
from tallygate.client.errors import MeteringError
from tallygate.client.handle import RequestHandle
from tallygate.client.request import MeteredRequest
from tallygate.client.session import Session
from tallygate.client.settings import ClientSettings, OnUnreachable
from tallygate.client.state import RequestState
from tallygate.client.values import Receipt, Record, Usage

_T = TypeVar("_T")
_DEFAULTS: Final = ClientSettings()


class RequestOptions(TypedDict, total=False):
    """What the asynchronous client's `request` takes, where it is explained."""

    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    max_output_tokens: int | None
    whole: bool
    hold_for_s: float | None
    min_output_tokens: int | None
    request_id: str | None
    credential: str
    credential_sha256: bytes
    model: str
    source_address: str
    labels: Mapping[str, str] | None
    estimated: bool
    receipt: bool


class RecordOptions(TypedDict, total=False):
    """What the asynchronous client's `record` takes, where it is explained."""

    request_id: str | None
    estimated: bool
    credential: str
    credential_sha256: bytes
    model: str
    source_address: str
    labels: Mapping[str, str] | None


class _Portal:
    """An event loop on a background thread, and how to get there."""

    def __init__(self, session: Session) -> None:
        self._session = session
        session.hand_over = self.post
        session.report_by_name = self.report_by_name
        session.outbox.columns.wake = self.wake_writer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self, start: Callable[[], None]) -> None:
        """Starts the thread, and there the client; nothing where that was done before."""
        if self._loop is None:
            loop = asyncio.new_event_loop()
            # A daemon: a program that forgets to close its client ends all the same.
            thread = threading.Thread(target=self._run, args=(loop,), name="tallygate metering", daemon=True)
            self._loop, self._thread = loop, thread
            thread.start()
            asyncio.run_coroutine_threadsafe(_call(start), loop).result()
        self._session.check_usable()

    def close(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Closes the client, then ends the thread."""
        loop, thread = self._loop, self._thread
        # In a forked child there is no such thread.
        if loop is None or thread is None or not thread.is_alive():
            return
        try:
            self.run(close())
        finally:
            self._loop = self._thread = None
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Runs something on the loop and waits for it."""
        try:
            self._session.check_usable()
            assert self._loop is not None
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except BaseException:
            work.close()
            raise
        try:
            return future.result()
        except CancelledError:
            raise MeteringError("this metering client was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise

    def post(self, state: RequestState) -> None:
        """Has the loop check a request; does not wait for it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._session.allowance.check, state)

    def report_by_name(self, state: RequestState) -> None:
        """Has the loop report a request's counts, and waits until it has queued them."""
        self.run(_call(lambda: self._session.allowance.report_unsaid(state)))

    def wake_writer(self) -> None:
        """Has the loop send what was marked; does not wait for it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._session.write_is_due.set)

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        # Threads that still wait for one of these tasks get a CancelledError.
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()


class SyncMeteredRequest(RequestHandle):
    """As the asynchronous one, without `await`; to be used from one thread at a time.

    `output`, `must_stop` and `free_tokens` are local, and so is `report` where the node takes columns. Everything else
    waits for the client's thread; `authorize`, `wait_for_tokens`, `wait_recorded` and leaving the context for a node.
    """

    __slots__ = ("_inner", "_portal")

    def __init__(self, inner: MeteredRequest, portal: _Portal) -> None:
        super().__init__(inner._session, inner._state, wants_receipt=inner._wants_receipt)  # noqa: SLF001  # its twin
        self._inner = inner
        self._portal = portal

    def __enter__(self) -> Self:
        self.authorize()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._portal.run(self._inner.__aexit__(kind, error, trace))

    def authorize(self) -> None:
        """Waits for a node's decision on the request. Raises as the asynchronous one."""
        self._portal.run(self._inner.authorize())

    def wait_for_tokens(self) -> int:
        """Number of tokens that may still be generated; waits where nothing is free. Raises as the asynchronous one."""
        return self.free_tokens or self._portal.run(self._inner.wait_for_tokens())

    def set_usage(self, usage: Usage, *, estimated: bool = False) -> None:
        """Replaces all counts by better ones. Raises as the asynchronous one."""
        self._portal.run(_call(lambda: self._inner.set_usage(usage, estimated=estimated)))

    def finish(
        self, usage: Usage | None = None, *, estimated: bool | None = None, want_receipt: bool | None = None
    ) -> None:
        """Reports the final counts; does not wait for a node. Raises as the asynchronous one."""
        self._portal.run(_call(lambda: self._inner.finish(usage, estimated=estimated, want_receipt=want_receipt)))

    def wait_recorded(self) -> Receipt | None:
        """Waits until the finish is durable. Raises as the asynchronous one."""
        return self._portal.run(self._inner.wait_recorded())


class SyncMeteringClient:
    """Meters requests from any number of threads over one stream to any of several metering nodes.

    Made for one per server process, started after the process was forked.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        settings: ClientSettings = _DEFAULTS,
        on_unreachable: OnUnreachable = "deny",
        credential: str = "",
        security: Security = PLAIN,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Makes a client; arguments and errors are those of the asynchronous one."""
        self._inner = MeteringClient(
            addresses,
            settings=settings,
            on_unreachable=on_unreachable,
            credential=credential,
            security=security,
            monotonic_ns=monotonic_ns,
        )
        self._portal = _Portal(self._inner._session)  # noqa: SLF001  # its twin
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Starts the client's thread and begins to connect; does not wait for that. Any thread may call it, repeatedly.

        Raises:
            Forked: It was started in the parent of this process.
        """
        with self._starting:
            self._portal.open(self._inner.start)

    def close(self) -> None:
        """Waits until every finish is durable, then hangs up and ends the thread. Raises as the asynchronous one."""
        with self._starting:
            self._portal.close(self._inner.close)

    def request(self, service: str = "", **options: Unpack[RequestOptions]) -> SyncMeteredRequest:
        """A request of a service; enter it as a context to authorise it. Options are those of the asynchronous one."""
        return SyncMeteredRequest(self._inner.request(service, **options), self._portal)

    def record(self, service: str, usage: Usage, **options: Unpack[RecordOptions]) -> Record:
        """Records usage of a request that was not authorised. Options and errors are those of the asynchronous one."""
        return self._portal.run(self._inner.record(service, usage, **options))

    @property
    def connected_to(self) -> str:
        """The address of the node that answers now; empty while none does."""
        return self._inner.connected_to

    @property
    def open_requests(self) -> int:
        """Requests in memory: those that run, and those whose finish is not durable yet."""
        return self._inner.open_requests

    @property
    def reports_sent(self) -> int:
        """Reports sent so far, those sent again included."""
        return self._inner.reports_sent

    @property
    def disconnects(self) -> int:
        """Number of streams that broke after a node had answered on them."""
        return self._inner.disconnects

    @property
    def verdicts(self) -> Mapping[tuple[str, str], int]:
        """Number of authorisations, by verdict and reason; what goes on without a node is ALLOW, UNREACHABLE."""
        return self._inner.verdicts


async def _call(work: Callable[[], None]) -> None:
    work()
