"""The way to a service: credentials go where nobody reads them, and another address answers where one is away."""

import grpc
import pytest

from tallygate._channel import Channels
from tallygate._security import Security
from tallygate._server.clock import ManualClock
from tallygate.console.calls import CallError, Link
from tests.harness.patience import PATIENCE_S, until_found
from tests.harness.wire.relay import relaying

PATH = "/tallygate.control.v1.AccessService/WhoAmI"
CODEC = {"request_serializer": bytes, "response_deserializer": bytes}


def link(*addresses: str, security: Security | None = None) -> Link:
    return Link("the control service", addresses, Channels(security or Security()), ManualClock())


async def test_a_credential_is_not_sent_in_plain_text() -> None:
    """It would be read on the way; a call without one is made."""
    far = link("192.0.2.1:7401")
    assert not far.keeps_secrets
    with pytest.raises(CallError, match="not sent to the control service in plain text") as caught:
        await far.call(PATH, CODEC, b"", "tgt_secret", 0.01)
    assert "tgt_secret" not in str(caught.value)
    with pytest.raises(CallError, match="does not answer"):
        await far.call(PATH, CODEC, b"", "", 0.01)
    await far.close()


@pytest.mark.parametrize("address", ["127.0.0.1:7401", "localhost:7401", "[::1]:7401"])
def test_this_machine_is_trusted(address: str) -> None:
    """Nobody is on the way."""
    assert link(address).keeps_secrets


async def test_who_is_away_is_away_since_the_first_call_that_failed() -> None:
    """Later ones do not move that."""
    clock = ManualClock()
    nowhere = Link("the control service", ["127.0.0.1:1"], Channels(), clock)
    began_us = clock.now_us()
    for _ in range(2):
        with pytest.raises(CallError, match=r"The control service does not answer\.") as caught:
            await nowhere.call(PATH, CODEC, b"", "", 5)
        assert caught.value.is_away
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE
        assert caught.value.away_since_us == began_us
        clock.advance(3)
    await nowhere.close()


@pytest.mark.parametrize("count", [2, 3])
async def test_all_of_several_are_away(count: int) -> None:
    """Each is tried once, and the next call begins with another one."""
    away = link(*(f"127.0.0.1:{port}" for port in range(1, count + 1)))
    for _ in range(3):
        with pytest.raises(CallError, match="does not answer"):
            await away.call(PATH, CODEC, b"", "", 5)
    await away.close()


def test_one_address_of_several_can_be_asked_alone() -> None:
    """By the channel that all calls use."""
    both = link("127.0.0.1:1", "127.0.0.1:2")
    alone = both.alone("127.0.0.1:2")
    assert alone.addresses == ("127.0.0.1:2",)
    assert alone._lines[0] is both._lines[1]


FAR_S = 0.7
"""Time that a far service's first bytes take, in seconds: longer than the console rests between two attempts."""


async def test_a_service_that_is_far_away_is_reached() -> None:
    """However long it takes to connect compared with the time between two attempts."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with relaying(f"127.0.0.1:{port}", FAR_S) as way:
        far = link(way.address)

        async def is_reached() -> bool:
            with pytest.raises(CallError) as caught:
                await far.call(PATH, CODEC, b"", "", PATIENCE_S)
            return caught.value.code == grpc.StatusCode.UNIMPLEMENTED

        await until_found(is_reached)
        await far.close()
    await server.stop(0)
