"""The courier over HTTP, against real servers on loopback: where it goes, what it sends, what it makes of answers."""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from control_service.domain.alert import Alert, AlertContent, AlertKind
from control_service.domain.delivery import Outcome, Problem
from control_service.domain.webhook import Webhook
from control_service.usecases.alerts.courier_port import Letter
from control_service.webhooks.courier import ANSWER_BYTES_MAX, HttpCourier
from tallygate._server.clock import SystemClock
from tests.harness.control.receiver import Receiver, running_receiver
from tests.harness.control.webhooks import SECRETS
from tests.harness.ports import reserved_port
from tests.harness.tls import Certificates

OLD, NEW, OTHER = (bytes([number]) * 32 for number in range(3))


def letter(url: str, *salts: bytes) -> Letter:
    webhook = Webhook("acme", "pager", "uid", url)
    content = AlertContent(AlertKind.MONEY_THRESHOLD, "accounts/acme", {"left_nanos": 2**60}, {"currency_code": "USD"})
    now_us = SystemClock().now_us()
    secrets = tuple(SECRETS.secret_of("uid", salt) for salt in salts or (NEW,))
    return Letter(webhook, "acme-7-abc", now_us, now_us, Alert("acme", 7, content, now_us), secrets)


class Resolver:
    """Knows one address of every name, and who asked for it."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.addresses


async def test_a_message_is_verified_by_its_secret() -> None:
    """By the library that receivers use; by both secrets while a rotation overlaps, and by no other one."""
    async with running_receiver() as receiver:
        assert await HttpCourier(allows_private=True).take(letter(receiver.url, NEW, OLD)) == Outcome(200)
    (received,) = receiver.received
    assert received.target == "/hook?a=b"
    assert received.headers["content-type"] == "application/json"
    for salt in (NEW, OLD):
        message = received.verified(SECRETS.text_of("uid", salt))
        assert message["type"] == "money.threshold"
        assert message["data"]["left_nanos"] == str(2**60)
        assert message["data"]["sequence_number"] == "7"
    with pytest.raises(WebhookVerificationError):
        received.verified(SECRETS.text_of("uid", OTHER))
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRETS.text_of("uid", NEW)).verify(received.body + b" ", received.headers)


async def test_a_redirect_is_not_followed() -> None:
    """Its target hears nothing: it could be where nobody may go."""
    async with running_receiver() as target:
        moved = Receiver(status=307, extra=f"location: {target.url}\r\n")
        async with running_receiver(moved):
            assert await HttpCourier(allows_private=True).take(letter(moved.url)) == Outcome(307)
        assert target.received == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("120", 120), ("0", 0), ("soon", 0), ("-5", 0), ("1.5", 0), ("\u0663", 0), ("9" * 40, 0)]
)
async def test_a_receiver_may_say_how_long_it_wants_to_be_left_alone(text: str, seconds: int) -> None:
    """In whole seconds; what is none, or longer than any wait, is not listened to."""
    async with running_receiver(Receiver(status=429, extra=f"retry-after: {text}\r\n")) as receiver:
        outcome = await HttpCourier(allows_private=True).take(letter(receiver.url))
    assert outcome == Outcome(429, retry_after_us=seconds * 1_000_000)


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look names up by itself."""
    async with running_receiver() as proxy, running_receiver() as receiver:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await HttpCourier(allows_private=True).take(letter(receiver.url))).is_taken
        assert (len(receiver.received), proxy.received) == (1, [])


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
)
async def test_a_name_that_leads_to_a_private_network_is_refused(address: str) -> None:
    """By default; nothing is connected to, and somebody who listens there hears nothing."""
    resolver = Resolver(address)
    async with running_receiver() as receiver:
        courier = HttpCourier(resolve=resolver)
        outcome = await courier.take(letter(f"https://hooks.example:{receiver.port}/"))
        assert outcome == Outcome(problem=Problem.ADDRESS_REFUSED)
        assert resolver.asked == [("hooks.example", receiver.port)]
        assert receiver.received == []


async def test_plain_http_is_refused() -> None:
    """Also where a webhook was made while a setting allowed it."""
    async with running_receiver() as receiver:
        assert await HttpCourier().take(letter(receiver.url)) == Outcome(problem=Problem.ADDRESS_REFUSED)
        assert receiver.received == []


async def test_a_name_is_resolved_once_and_the_connection_goes_to_that_address() -> None:
    """Of several addresses to one that is allowed; the name is in the request, and is not looked up again."""
    resolver = Resolver("169.254.169.254", "127.0.0.1")
    async with running_receiver() as receiver:
        courier = HttpCourier(allows_private=True, resolve=resolver)
        assert (await courier.take(letter(f"http://hooks.example:{receiver.port}/x"))).is_taken
    assert resolver.asked == [("hooks.example", receiver.port)]
    assert receiver.received[0].headers["host"] == f"hooks.example:{receiver.port}"


async def test_tls_verifies_the_name(tmp_path: Path) -> None:
    """And not the address that was connected to: a certificate for another name, or of nobody known, is refused."""
    certificates = Certificates(tmp_path / "tls")
    trusting = ssl.create_default_context(cafile=str(certificates.ca))
    for hosts, trust, outcome in (
        (("hooks.example",), trusting, Outcome(200)),
        (("127.0.0.1", "localhost"), trusting, Outcome(problem=Problem.TLS)),
        (("hooks.example",), None, Outcome(problem=Problem.TLS)),
    ):
        pair = certificates.server("server", hosts)
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(pair.certificate, pair.key)
        async with running_receiver(tls=serving) as receiver:
            courier = HttpCourier(allows_private=True, resolve=Resolver("127.0.0.1"), tls=trust)
            assert await courier.take(letter(f"https://hooks.example:{receiver.port}/")) == outcome
            assert len(receiver.received) == outcome.is_taken


async def test_what_goes_wrong_is_an_outcome() -> None:
    """A name without an address, a port where nobody listens, no answer in time, an answer that is none."""
    forever = asyncio.Event()

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError

    with reserved_port() as port:
        nowhere = letter(f"http://127.0.0.1:{port}/")
        assert await HttpCourier(allows_private=True).take(nowhere) == Outcome(problem=Problem.CONNECTION)
    courier = HttpCourier(allows_private=True, resolve=unknown)
    assert await courier.take(letter("https://hooks.example")) == Outcome(problem=Problem.NAME_UNKNOWN)
    async with running_receiver(Receiver(before_answer=forever.wait)) as slow:  # type: ignore[arg-type]  # what it returns
        courier = HttpCourier(allows_private=True, timeout_s=0.2)
        assert await courier.take(letter(slow.url)) == Outcome(problem=Problem.TIMEOUT)
        forever.set()
    async with running_receiver(Receiver(extra="no header at all\r\n")) as strange:
        outcome = await HttpCourier(allows_private=True).take(letter(strange.url))
        assert outcome == Outcome(problem=Problem.ANSWER_BROKEN)


async def test_of_an_answer_only_the_status_counts() -> None:
    """A long one is not read to its end, and changes nothing."""
    async with running_receiver(Receiver(answer=bytes(100 * ANSWER_BYTES_MAX))) as receiver:
        assert await HttpCourier(allows_private=True).take(letter(receiver.url)) == Outcome(200)
