"""What wrong credentials of one peer cost control: so many questions a second, however many are shown."""

import asyncio
from collections.abc import Iterable

import pytest

from metering_service import IS_COMPILED
from metering_service.api.control.link import ControlLink
from metering_service.api.control.subscriptions import following, following_credentials, gather, unfollowing_credentials
from metering_service.domain.credential import Credential, CredentialState
from metering_service.domain.errors import CredentialRefusedError, CredentialUnverifiedError, TooManyGuessesError
from metering_service.usecases.access import peers
from metering_service.usecases.access.peers import WrongCredentials
from metering_service.usecases.settings import NodeSettings
from tallygate.control.v1 import fleet_service_pb2 as pb
from tests.harness.metering.credential_control import SECOND_NS, CredentialControl, meter_of, token
from tests.harness.metering.immediate import now
from tests.simulation.loop import SimulatedLoop

GUESSER, PEER = "192.0.2.66", "192.0.2.1"
PER_S = 50
GUESSES = 10_000
GOOD = token("good")


@pytest.fixture
def control() -> CredentialControl:
    """One that is connected, and has the settings of the product."""
    control = CredentialControl(settings=NodeSettings(wrong_credentials_per_s=PER_S))
    control.put(GOOD, meter_of("acme"))
    return control


def asked(control: CredentialControl) -> int:
    """How many credentials control was asked about."""
    return sum(map(len, control.questions))


async def show(control: CredentialControl, credentials: Iterable[Credential], peer: str = GUESSER) -> list[type | None]:
    """How each is answered, all shown at the same moment; None: it opens something."""
    tasks = [asyncio.create_task(control.credentials.prove(credential, peer)) for credential in credentials]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        control.answer()
        control.credentials.keep_house()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    return [type(answer) if isinstance(answer, BaseException) else None for answer in answers]


def guesses(first: int, count: int) -> list[Credential]:
    """Tokens that control does not know."""
    return [token(f"guess-{number}") for number in range(first, first + count)]


async def test_ten_thousand_guesses_ask_control_little(control: CredentialControl) -> None:
    """At five hundred a second; each is refused, the most of them without a question, and nothing is kept of those."""
    answers: list[type | None] = []
    for first in range(0, GUESSES, 50):
        answers += await show(control, guesses(first, 50))
        control.pass_time(0.1)
    seconds = GUESSES / 500
    at_once = NodeSettings().credentials_asked_max
    assert PER_S * (seconds - 1) <= asked(control) <= PER_S * (seconds + 1) + at_once
    assert set(answers) == {CredentialRefusedError, TooManyGuessesError}
    assert len(control.followed) == asked(control)


async def test_guesses_that_come_at_once_are_not_all_asked_about(control: CredentialControl) -> None:
    """Those that wait behind the first answers are refused with them."""
    answers = await show(control, guesses(0, 5_000))
    assert asked(control) <= NodeSettings().credentials_asked_max + PER_S
    assert set(answers) == {CredentialRefusedError, TooManyGuessesError}


async def test_who_guesses_delays_nobody_else(control: CredentialControl) -> None:
    """Another peer's proof is asked about at once, a known one is good at the guesser's address; a new one soon is."""
    control.put(token("known"), meter_of("acme"))
    control.put(token("new"), meter_of("acme"))
    assert await show(control, [token("known")]) == [None]
    for first in range(0, 1_000, 100):
        await show(control, guesses(first, 100))
    assert await show(control, [GOOD], PEER) == [None]
    assert await show(control, [token("known")]) == [None]
    assert await show(control, [token("new")]) == [TooManyGuessesError]
    control.pass_time(10)
    assert await show(control, [token("new")]) == [None]


@pytest.mark.parametrize("state", [state for state in CredentialState if state is not CredentialState.VALID])
async def test_all_that_opens_nothing_counts(control: CredentialControl, state: CredentialState) -> None:
    """Also what did once; only when control says so for the first time."""
    spent = [token(f"spent-{number}") for number in range(PER_S)]
    for credential in spent:
        control.put(credential, state=state)
    for credential in spent * 2:
        assert await show(control, [credential]) == [CredentialRefusedError]
    assert await show(control, guesses(0, 1)) == [TooManyGuessesError]


async def test_right_ones_count_for_nothing(control: CredentialControl) -> None:
    """A gateway may show any number of them, also when a node has just begun."""
    right = [token(f"right-{number}") for number in range(20 * PER_S)]
    for credential in right:
        control.put(credential, meter_of("acme"))
    assert set(await show(control, right)) == {None}
    assert set(await show(control, guesses(0, PER_S))) == {CredentialRefusedError}


@pytest.mark.parametrize(("shown", "too_many"), [(0, False), (1, False), (PER_S - 1, False), (PER_S, True)])
def test_a_second_of_guesses_is_let_pass(shown: int, too_many: bool) -> None:
    """Then as many as time makes up for."""
    wrong, at_ns = WrongCredentials(PER_S), 7 * SECOND_NS
    for _ in range(shown):
        wrong.note(GUESSER, at_ns)
    assert wrong.are_too_many(GUESSER, at_ns) is too_many
    assert not wrong.are_too_many(GUESSER, at_ns + SECOND_NS // PER_S)
    assert not wrong.are_too_many(PEER, at_ns)


@pytest.mark.skipif(IS_COMPILED, reason="what is compiled takes no patches")
def test_no_peer_waits_for_ever_and_peers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many the one is forgotten that has guessed the longest ago."""
    monkeypatch.setattr(peers, "GUESSERS_MAX", 3)
    wrong = WrongCredentials(PER_S)
    for peer in ("a", "b", "a", "c"):
        for _ in range(10_000):
            wrong.note(peer, 0)
    assert wrong.are_too_many("b", 9 * SECOND_NS)
    assert not wrong.are_too_many("b", 9 * SECOND_NS + SECOND_NS // PER_S)
    wrong.note("d", 0)
    assert [wrong.are_too_many(peer, 0) for peer in ("a", "b", "c", "d")] == [True, False, True, False]


def test_the_answer_says_what_to_do(control: CredentialControl) -> None:
    """It is no verdict on the credential, so whoever has a right one tries again; and it tells nothing of it."""
    for _ in range(PER_S):
        control.credentials._wrong.note(GUESSER, control.clock.monotonic_ns())
    with pytest.raises(TooManyGuessesError, match="try again in a second, or at another node") as refused:
        now(control.credentials.prove(token("secret"), GUESSER))
    assert isinstance(refused.value, CredentialUnverifiedError)
    assert "secret" not in str(refused.value)


def acknowledging(version: int) -> pb.WatchConfigRequest:
    """A node has what it follows as of that version."""
    return pb.WatchConfigRequest(acknowledgement=pb.ConfigAcknowledgement(version=version))


def test_what_is_said_goes_together() -> None:
    """Subscriptions in few messages; of acknowledgements the last; nothing is unsubscribed behind what subscribes."""
    first, second, third = guesses(0, 3)
    said = [
        following_credentials([first]),
        acknowledging(1),
        following(["accounts/acme/services/chat"]),
        following_credentials([second]),
        acknowledging(2),
        unfollowing_credentials([first]),
        following_credentials([third]),
    ]
    gathered = gather(said)
    assert [message.WhichOneof("message") for message in gathered] == [
        "subscription",
        "subscription",
        "acknowledgement",
    ]
    assert [each.token.token_id for each in gathered[0].subscription.subscribe_credentials] == ["guess-0", "guess-1"]
    assert list(gathered[0].subscription.subscribe) == ["accounts/acme/services/chat"]
    assert [each.token.token_id for each in gathered[1].subscription.unsubscribe_credentials] == ["guess-0"]
    assert [each.token.token_id for each in gathered[1].subscription.subscribe_credentials] == ["guess-2"]
    assert gathered[2].acknowledgement.version == 2
    assert gather([]) == []


class Feed:
    """The node's end of a feed, which remembers what was written."""

    def __init__(self) -> None:
        self.written: list[pb.WatchConfigRequest] = []

    async def write(self, message: pb.WatchConfigRequest) -> None:
        self.written.append(message)


async def speak(count: int, seconds: float) -> Feed:
    """As many questions in as many seconds, evenly, on a feed that is written to as a node does."""
    feed, outbox = Feed(), asyncio.Queue[pb.WatchConfigRequest]()
    sender = asyncio.create_task(ControlLink._send(None, feed, outbox))  # type: ignore[arg-type]  # it uses neither
    for each in guesses(0, count):
        outbox.put_nowait(following_credentials([each]))
        await asyncio.sleep(seconds / count)
    await asyncio.sleep(1)
    sender.cancel()
    return feed


def test_questions_of_many_peers_go_together() -> None:
    """However many there are in a second, control reads some hundred messages of them; one alone goes out at once."""
    loop = SimulatedLoop()  # type: ignore[abstract]  # what nobody calls is missing
    feed = loop.run_until_complete(speak(10_000, 1))
    assert sum(len(message.subscription.subscribe_credentials) for message in feed.written) == 10_000
    assert 100 <= len(feed.written) <= 400
    assert len(feed.written[0].subscription.subscribe_credentials) == 1
