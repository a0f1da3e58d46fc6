"""One Meter stream from its opening to its break."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import grpc

from tallygate._channel import Channels
from tallygate._proxies import by_way_of
from tallygate._tls_failures import tls_problem
from tallygate.client.outbox import REPORTS_PER_MESSAGE_MAX
from tallygate.client.session import Session
from tallygate.metering.v1 import metering_service_pb2, metering_service_pb2_grpc

_Call = grpc.aio.StreamStreamCall[metering_service_pb2.MeterRequest, metering_service_pb2.MeterResponse]

_CHANNEL_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.enable_retries", 0),
    # A second stream to the same address shall not inherit the first one's broken connection.
    ("grpc.use_local_subchannel_pool", 1),
)

_HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"

_DECIDED_STATES: Final = (
    grpc.ChannelConnectivity.READY,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
    grpc.ChannelConnectivity.SHUTDOWN,
)


class MeterStream:
    """Writes what the outbox holds and hands over what comes back, until something breaks."""

    def __init__(self, address: str, session: Session, channels: Channels) -> None:
        settings = session.settings
        self._address = address
        self._session = session
        self._channels = channels
        self._outbox = session.outbox
        self._heartbeat_s = settings.heartbeat_ms / 1_000
        self._silence_s = (settings.heartbeat_ms + settings.silence_ms) / 1_000
        self.was_answered = False
        """Whether the node has answered on this stream."""

    async def run(self) -> str:
        """Runs until the stream breaks; returns why, in a few words. Cancelling it closes the stream."""
        async with self._channels.open_aio(self._address, _CHANNEL_OPTIONS) as channel:
            # Nothing counts as sent before there is somebody to send it to.
            if not await self._connect(channel):
                return await self._why_not(channel)
            call = metering_service_pb2_grpc.MeteringServiceStub(channel).Meter()
            writer = asyncio.create_task(self._write(call), name="tallygate metering writer")
            try:
                return await self._read(call)
            finally:
                self._session.connected_to = ""
                writer.cancel()
                call.cancel()
                await asyncio.gather(writer, return_exceptions=True)

    async def _connect(self, channel: grpc.aio.Channel) -> bool:
        try:
            async with asyncio.timeout(self._silence_s):
                state = channel.get_state(try_to_connect=True)
                while state not in _DECIDED_STATES:
                    await channel.wait_for_state_change(state)
                    state = channel.get_state()
        except TimeoutError:
            return False
        return state == grpc.ChannelConnectivity.READY

    async def _why_not(self, channel: grpc.aio.Channel) -> str:
        """Why there is no connection. gRPC tells the reason to calls only: this one is made to be told."""
        if channel.get_state() == grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            check: Callable[..., Awaitable[bytes]] = channel.unary_unary(_HEALTH_CHECK)
            try:
                await check(b"", timeout=self._silence_s)
            except grpc.aio.AioRpcError as error:
                problem = tls_problem(error.details() or "", has_tls=self._channels.security.has_tls)
                if problem:
                    return f"{self._address} {problem}"
        return f"{self._address} cannot be connected to{by_way_of(self._address)}"

    async def _read(self, call: _Call) -> str:
        now = asyncio.get_running_loop().time
        try:
            # One for the whole stream, put off by each message: a new one for each would delay every answer.
            async with asyncio.timeout(self._silence_s) as silence:
                while True:
                    response = await call.read()
                    if not isinstance(response, metering_service_pb2.MeterResponse):
                        return f"{self._address} ended the stream"
                    self.was_answered = True
                    self._session.connected_to = self._address
                    self._session.receive(response)
                    if self._session.cut_off:
                        return f"{self._address} could not decide: {self._session.cut_off}"
                    silence.reschedule(now() + self._silence_s)
        except TimeoutError:
            return f"{self._address} said nothing for {self._silence_s:g} s"
        except grpc.aio.AioRpcError as error:
            way = by_way_of(self._address) if error.code() is grpc.StatusCode.UNAVAILABLE else ""
            return f"{self._address}{way}: {error.code().name}: {error.details()}"

    async def _write(self, call: _Call) -> None:
        try:
            while True:
                self._session.begin_message()
                message = self._outbox.take(self._session.monotonic_ns())
                if len(self._outbox):
                    # What has no room in this message is due after it.
                    self._session.write_is_due.set()
                if message is None:
                    message = self._outbox.heartbeat(self._session.monotonic_ns())
                if len(self._outbox) <= REPORTS_PER_MESSAGE_MAX:
                    self._session.drained.set()
                await call.write(message)
                await self._pause()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The reader gets the status and returns why.
            return

    async def _pause(self) -> None:
        """Waits until there is something to report, at most until the next heartbeat is due."""
        write_is_due, columns = self._session.write_is_due, self._outbox.columns
        # From here on a mark wakes this writer; those before it are seen below.
        columns.is_woken = False
        if write_is_due.is_set() or columns.marked:
            # The reports of all tasks that are ready to run now get into this message too.
            await asyncio.sleep(0)
            return
        # No further turn is needed here: tasks that were ready when a report was queued run before this one is woken.
        heartbeat = asyncio.get_running_loop().call_later(self._heartbeat_s, write_is_due.set)
        try:
            await write_is_due.wait()
        finally:
            heartbeat.cancel()
