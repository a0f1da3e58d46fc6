"""gRPC without gRPC: the real servicers and the real stubs' callers, on a network that loses, repeats and delays.

A stream is ordered, as HTTP/2 is: it may be slow, and it may break at any moment, losing what was on its way. A unary
call may be lost on either way, arrive twice, or arrive so late that its caller has gone on.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from grpc.aio import AioRpcError, Metadata
from grpc_status import rpc_status

from tallygate._server.grpc.caller import AUTHORIZATION_KEY, UNCHECKED, set_caller
from tallygate._server.grpc.failures import RpcStatusError, status_of
from tests.simulation.chance import Chance
from tests.simulation.loop import PARTY, Party, SimulatedLoop

Translate: TypeAlias = Callable[[Exception], RpcStatusError | None]
Serve: TypeAlias = Callable[[Any, Any], Awaitable[None]]
_END: Any = object()


class Server:
    """What a process serves to others. `translate`: as the real guard is told. A crashed one is not there."""

    def __init__(self, party: Party, translate: Translate) -> None:
        self.party = party
        self.translate = translate
        self.streams: dict[StreamCall, None] = {}

    def break_streams(self) -> None:
        """The process is gone, or its connections are."""
        for stream in list(self.streams):
            stream.break_off("the connection was reset")


class Network:
    """Between processes. `cut` holds pairs of names that do not reach each other now."""

    def __init__(self, loop: SimulatedLoop, chance: Chance) -> None:
        self.loop = loop
        self.chance = chance
        self.cut: set[frozenset[str]] = set()

    def reaches(self, one: Party, other: Party) -> bool:
        """Whether a message would get there now."""
        return not one.dead and not other.dead and frozenset((_host(one), _host(other))) not in self.cut

    async def call(
        self,
        caller: Party,
        server: Server | None,
        method: Callable[[Any, Any], Awaitable[Any]],
        request: Any,
        timeout_s: float,
    ) -> Any:
        """A unary call. Raises AioRpcError, as a stub does."""
        caller.check()
        if server is None or not self.reaches(caller, server.party):
            await asyncio.sleep(self.chance.latency_s())
            raise failed(grpc.StatusCode.UNAVAILABLE, "nobody answers")
        answer: asyncio.Future[Any] = self.loop.create_future()
        request_bytes, kind = request.SerializeToString(), type(request)

        async def arrive() -> None:
            set_caller(UNCHECKED)
            try:
                result = await method(kind.FromString(request_bytes), ServerContext(None))
            except Exception as error:  # noqa: BLE001  # becomes a status, as the guard would have it
                result = _status(error, server.translate)
            await asyncio.sleep(self.chance.latency_s())
            lost = self.chance.strikes("message lost") or not self.reaches(caller, server.party)
            if not lost and not answer.done():
                answer.set_result(result)

        if not self.chance.strikes("message lost"):
            delay_s = self.chance.latency_s()
            if self.chance.strikes("message delayed"):
                # Beyond the caller's patience, so that what it says next overtakes this.
                delay_s += self.chance.uniform(1.0, 6.0)
                self.chance.note("message reordered")
            self._deliver(server, delay_s, arrive)
            if self.chance.strikes("message duplicated"):
                self._deliver(server, delay_s + self.chance.uniform(0.0, 3.0), arrive)
        try:
            async with asyncio.timeout(timeout_s):
                result = await answer
        except TimeoutError:
            raise failed(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time") from None
        caller.check()
        if isinstance(result, AioRpcError):
            raise result
        return type(result).FromString(result.SerializeToString())

    def _deliver(self, server: Server, delay_s: float, arrive: Callable[[], Awaitable[None]]) -> None:
        async def later() -> None:
            await asyncio.sleep(delay_s)
            if not server.party.dead:
                await arrive()

        self.loop.spawn(server.party, later())

    def stream(self, caller: Party, server: Server | None, serve: Serve | None, bearer: str = "") -> "StreamCall":
        """Open a stream. It breaks at once where nobody is there. `bearer`: the token that it shows, if any."""
        return StreamCall(self, caller, server, serve, bearer)


class ServerContext:
    """As far as the servicers of this project use theirs."""

    def __init__(self, stream: "StreamCall | None") -> None:
        self.stream = stream

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        bearer = self.stream.bearer if self.stream is not None else ""
        return ((AUTHORIZATION_KEY, f"Bearer {bearer}"),) if bearer else ()

    def auth_context(self) -> dict[str, tuple[bytes, ...]]:
        return {}

    def peer(self) -> str:
        return self.stream.caller.name if self.stream is not None else ""

    async def write(self, message: Any) -> None:
        assert self.stream is not None
        self.stream.to_client.send(message)


class StreamCall:
    """The client's end of a stream; the server's is a task of the server's."""

    def __init__(
        self, network: Network, caller: Party, server: Server | None, serve: Serve | None, bearer: str = ""
    ) -> None:
        self.bearer = bearer
        self.is_admitted = False
        """The gate has let it in, by what it shows."""
        self.on_message: Callable[[Any], None] | None = None
        """Is told of each message that the client reads."""
        self.caller = caller
        self.server = server
        self.name = server.party.name if server is not None else "nobody"
        self._network = network
        self._task: asyncio.Task[None] | None = None
        self.broken: AioRpcError | None = None
        if server is None or serve is None or not network.reaches(caller, server.party):
            self.to_server = self.to_client = _Way(network)
            self.broken = failed(grpc.StatusCode.UNAVAILABLE, "nobody answers")
            return
        self.to_server, self.to_client = _Way(network), _Way(network)
        server.streams[self] = None
        self._task = network.loop.spawn(server.party, self._serve(server, serve))

    async def write(self, message: Any) -> None:
        """Raises AioRpcError when the stream is broken."""
        self.caller.check()
        if self.broken is not None:
            raise self.broken
        self.to_server.send(message)

    async def done_writing(self) -> None:
        """No more is said."""
        self.to_server.send(_END)

    async def read(self) -> Any:
        """The next message; grpc.aio.EOF at the end. Raises AioRpcError."""
        self.caller.check()
        if self.broken is not None:
            raise self.broken
        message = await self.to_client.receive()
        self.caller.check()
        if isinstance(message, AioRpcError):
            self.broken = message
            raise message
        if message is _END:
            return grpc.aio.EOF
        if self.on_message is not None:
            self.on_message(message)
        return message

    @property
    def on_its_way_until_s(self) -> float:
        """When the last of what was sent arrives, on either way."""
        return max(self.to_server.last_s, self.to_client.last_s)

    def cancel(self) -> None:
        """The client hangs up."""
        self.break_off("cancelled by the client")

    def break_off(self, why: str) -> None:
        """The connection is gone: what was on its way is lost, and both ends see it."""
        if self.broken is not None or self.server is None:
            return
        self.broken = failed(grpc.StatusCode.UNAVAILABLE, why)
        self.to_server.lose()
        self.to_client.lose(self.broken)
        self.server.streams.pop(self, None)
        if self._task is not None:
            self._task.cancel()

    async def _serve(self, server: Server, serve: Serve) -> None:
        # Who opens a stream may serve one itself, with a caller of its own.
        set_caller(UNCHECKED)
        try:
            await serve(self._requests(), ServerContext(self))
        except asyncio.CancelledError:
            return
        except Exception as error:  # noqa: BLE001  # becomes a status, as the guard would have it
            self.to_client.send(_status(error, server.translate))
        else:
            self.to_client.send(_END)
        finally:
            server.streams.pop(self, None)

    async def _requests(self) -> AsyncIterator[Any]:
        while (message := await self.to_server.receive()) is not _END:
            yield message


class _Way:
    """One direction of a stream: in order, each message after some time."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self.last_s = 0.0
        self._lost = False

    def send(self, message: Any) -> None:
        """Put it on its way."""
        sender = PARTY.get()
        if self._lost or (sender is not None and sender.dead):
            return
        loop = self._network.loop
        delay_s = self._network.chance.latency_s()
        if self._network.chance.strikes("message delayed"):
            delay_s += self._network.chance.uniform(0.05, 1.5)
        if message is not _END and not isinstance(message, AioRpcError):
            message = type(message).FromString(message.SerializeToString())
        self.last_s = max(self.last_s, loop.now_s + delay_s)
        loop.call_at(self.last_s, self._arrive, message)

    async def receive(self) -> Any:
        """The next message that has arrived."""
        return await self._queue.get()

    def lose(self, last: Any = None) -> None:
        """What is on its way does not arrive, nor anything after it; `last`: what the reader is told."""
        self._lost = True
        if last is not None:
            self._queue.put_nowait(last)

    def _arrive(self, message: Any) -> None:
        if not self._lost:
            self._queue.put_nowait(message)


def failed(code: grpc.StatusCode, details: str, trailing: Metadata | None = None) -> AioRpcError:
    """The error of a call."""
    return AioRpcError(code, Metadata(), trailing or Metadata(), details)


def _status(error: Exception, translate: Translate) -> AioRpcError:
    failure = error if isinstance(error, RpcStatusError) else translate(error)
    if failure is None:
        raise error
    status = rpc_status.to_status(status_of(failure))
    return failed(status.code, status.details, Metadata(*status.trailing_metadata))


def _host(party: Party) -> str:
    """Processes of one name, one after the other, are at one place in the network."""
    return party.name.partition("#")[0]
