"""What a node knows of credentials: asked once, followed, bounded, fair between peers, and never longer than it may."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from metering_service.domain.credential import Credential, CredentialConfig, CredentialState
from metering_service.domain.errors import CredentialRefusedError, CredentialUnverifiedError
from metering_service.usecases.access.shown_credential import ShownCredential
from metering_service.usecases.settings import NodeSettings
from tests.harness.metering.credential_control import CredentialControl, User, meter_of, token
from tests.harness.metering.immediate import now

GOOD, OTHER = token("good"), token("other")
PEER, GUESSER = "192.0.2.1", "192.0.2.66"
SMALL = NodeSettings(invalid_credentials_max=100, credentials_asked_max=10, wrong_credentials_per_s=100_000)


@pytest.fixture
def control() -> CredentialControl:
    """One that knows of a good token, and is connected."""
    control = CredentialControl(settings=SMALL)
    control.put(GOOD, meter_of("acme"))
    return control


async def shows(control: CredentialControl, *credentials: Credential, peer: str = PEER) -> list["asyncio.Task[object]"]:
    """Calls that bring these credentials, as far as they get without an answer of control."""
    tasks = [asyncio.create_task(_prove(control, credential, peer)) for credential in credentials]
    await asyncio.sleep(0)
    return tasks


async def _prove(control: CredentialControl, credential: Credential, peer: str) -> object:
    return await control.credentials.prove(credential, peer)


async def shown(control: CredentialControl, credential: Credential = GOOD, peer: str = PEER) -> ShownCredential:
    """A credential after control has answered."""
    (task,) = await shows(control, credential, peer=peer)
    control.answer()
    found = await task
    assert isinstance(found, ShownCredential)
    return found


def is_let_in(control: CredentialControl, credential: Credential = GOOD) -> bool:
    """Whether one that control has spoken of lets in now; without any waiting."""
    try:
        now(control.credentials.prove(credential, PEER))
    except (CredentialRefusedError, CredentialUnverifiedError):
        return False
    return True


async def test_many_callers_with_one_credential_share_one_question(control: CredentialControl) -> None:
    """All wait for control's answer, which is asked for once, and have it together."""
    tasks = await shows(control, *[GOOD] * 20)
    assert control.questions == [[GOOD]]
    assert not any(task.done() for task in tasks)
    control.answer()
    assert [one.rights for one in await asyncio.gather(*tasks) if isinstance(one, ShownCredential)] == [
        meter_of("acme")
    ] * 20
    assert is_let_in(control)
    assert control.questions == [[GOOD]]


@pytest.mark.parametrize("state", [CredentialState.UNKNOWN, CredentialState.EXPIRED, CredentialState.REVOKED])
async def test_what_opens_nothing_is_refused_and_remembered(control: CredentialControl, state: CredentialState) -> None:
    """The refusal says why; another attempt does not have control asked again."""
    control.put(OTHER, state=state)
    with pytest.raises(CredentialRefusedError) as refused:
        await shown(control, OTHER)
    assert refused.value.state is state
    with pytest.raises(CredentialRefusedError):
        now(control.credentials.prove(OTHER, PEER))
    assert control.questions == [[OTHER]]


async def test_nobody_waits_longer_than_two_seconds(control: CredentialControl) -> None:
    """Where control does not answer, the caller learns that it is not known who calls; not before."""
    (task,) = await shows(control, GOOD)
    control.pass_time(1.9)
    await asyncio.sleep(0)
    assert not task.done()
    control.pass_time(0.1)
    with pytest.raises(CredentialUnverifiedError):
        await task


async def test_a_late_answer_is_of_use_to_the_next(control: CredentialControl) -> None:
    """Who waited is gone; whoever comes next need not wait."""
    (task,) = await shows(control, GOOD)
    control.pass_time(2)
    await asyncio.wait([task])
    control.answer()
    assert isinstance(task.exception(), CredentialUnverifiedError)
    assert is_let_in(control)


async def test_who_gives_up_disturbs_nobody(control: CredentialControl) -> None:
    """A call that is cancelled leaves the others waiting, and the answer comes to them."""
    first, second = await shows(control, GOOD, GOOD)
    first.cancel()
    await asyncio.wait([first])
    control.answer()
    assert isinstance(await second, ShownCredential)


async def test_a_later_version_wins(control: CredentialControl) -> None:
    """An older word that comes late on the same stream changes nothing; on a new one, the first word counts."""
    await shown(control)
    old = control.known[GOOD]
    control.put(GOOD, state=CredentialState.REVOKED)
    control.credentials.take(old)
    assert not is_let_in(control)
    control.put(GOOD, meter_of("acme"))
    control.disconnect()
    control.known[GOOD] = replace(control.known[GOOD], rights=meter_of("umbrella"), version=1)
    control.connect()
    control.answer()
    assert (await shown(control)).rights == meter_of("umbrella")


async def test_cut_off_a_node_lets_in_whom_it_knows_for_a_minute(control: CredentialControl) -> None:
    """From when it last heard from control; and nobody else, for no time."""
    await shown(control)
    control.disconnect()
    (unknown,) = await shows(control, OTHER)
    control.pass_time(60, heard=False)
    assert is_let_in(control)
    control.pass_time(0.1, heard=False)
    assert not is_let_in(control)
    with pytest.raises(CredentialUnverifiedError):
        now(control.credentials.prove(GOOD, PEER))
    await asyncio.wait([unknown])
    assert isinstance(unknown.exception(), CredentialUnverifiedError)


async def test_a_new_stream_confirms_nothing_by_itself(control: CredentialControl) -> None:
    """What was known before lets in as long as before, until control has spoken of it: it may have been revoked."""
    await shown(control)
    control.disconnect()
    control.pass_time(59, heard=False)
    control.connect()
    control.pass_time(1.1)
    assert not is_let_in(control)
    control.answer()
    assert is_let_in(control)


async def test_all_that_is_known_is_followed_on_a_new_stream(control: CredentialControl) -> None:
    """Those that streams use come first; what opens nothing is asked about when it is shown again."""
    control.put(OTHER, meter_of("acme"))
    await shown(control)
    used = await shown(control, OTHER)
    used.users[User()] = None
    with pytest.raises(CredentialRefusedError):
        await shown(control, token("made-up"))
    control.disconnect()
    assert control.credentials.begin_stream() == [OTHER, GOOD]


async def test_streams_are_not_told_of_what_they_know(control: CredentialControl) -> None:
    """Control says everything again on a new stream; only rights that differ are told to a caller's streams."""
    used, user = await shown(control), User()
    used.users[user] = None
    control.disconnect()
    control.connect()
    control.answer()
    assert used.is_confirmed
    assert user.rights is None
    control.put(GOOD, meter_of("umbrella"))
    assert user.rights == meter_of("umbrella")


async def test_what_was_asked_is_asked_again_on_a_new_stream(control: CredentialControl) -> None:
    """A caller who waits while the stream breaks has its answer from the next one."""
    (task,) = await shows(control, GOOD)
    control.disconnect()
    control.connect()
    assert control.questions == [[GOOD], [GOOD]]
    control.answer()
    assert isinstance(await task, ShownCredential)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (lambda control: control.put(GOOD, state=CredentialState.REVOKED), CredentialState.REVOKED),
        (lambda control: control.put(GOOD, state=CredentialState.UNKNOWN), CredentialState.UNKNOWN),
        (lambda control: control.pass_time(10.1), CredentialState.EXPIRED),
    ],
)
async def test_streams_end_with_their_credential(
    control: CredentialControl, change: Callable[[CredentialControl], None], state: CredentialState
) -> None:
    """When it is revoked, deleted, or its time is over, which runs from when control's word came; and not before."""
    control.put(GOOD, meter_of("acme"), seconds=10)
    user = User()
    (await shown(control)).users[user] = None
    control.pass_time(9.9)
    assert user.error is None
    assert is_let_in(control)
    change(control)
    assert isinstance(user.error, CredentialRefusedError)
    assert user.error.state is state
    control.put(GOOD, state=state)
    with pytest.raises(CredentialRefusedError):
        await shown(control)


async def test_control_is_asked_again_about_what_has_ended(control: CredentialControl) -> None:
    """Time may have taken a part of it only: what a person had by a group, and not what is bound to the person."""
    control.put(GOOD, meter_of("acme"), seconds=1)
    await shown(control)
    control.pass_time(1.1)
    control.put(GOOD, meter_of("globex"))
    assert (await shown(control)).rights == meter_of("globex")
    assert control.questions == [[GOOD], [GOOD]]


async def test_no_housekeeping_is_needed_to_refuse_what_has_expired(control: CredentialControl) -> None:
    """A call in the very moment after the end is refused."""
    control.put(GOOD, meter_of("acme"), seconds=1)
    await shown(control)
    control.clock.advance(1)
    assert not is_let_in(control)


async def test_a_later_end_holds(control: CredentialControl) -> None:
    """A credential whose time control has prolonged goes on, with its streams; so does one that has no end any more."""
    control.put(GOOD, meter_of("acme"), seconds=10)
    user = User()
    (await shown(control)).users[user] = None
    control.put(GOOD, meter_of("acme"), seconds=20)
    control.pass_time(15)
    control.put(GOOD, meter_of("acme"))
    control.pass_time(15)
    assert is_let_in(control)
    assert user.error is None


async def test_streams_are_told_of_other_rights(control: CredentialControl) -> None:
    """They judge themselves whether they may go on."""
    user = User()
    (await shown(control)).users[user] = None
    control.put(GOOD, meter_of("umbrella"))
    assert user.rights == meter_of("umbrella")


async def test_guesses_push_out_neither_proofs_nor_what_others_tried(control: CredentialControl) -> None:
    """What is remembered of them is bounded, and the peer that has most gives way; control follows no more."""
    await shown(control)
    with pytest.raises(CredentialRefusedError):
        await shown(control, OTHER)
    for number in range(1_000):
        with pytest.raises(CredentialRefusedError):
            await shown(control, token(f"guess-{number}"), peer=GUESSER)
    assert len(control.followed) == SMALL.invalid_credentials_max + 1
    questions = len(control.questions)
    assert is_let_in(control)
    assert not is_let_in(control, OTHER)
    assert len(control.questions) == questions


async def test_the_longest_waiting_guess_gives_way(control: CredentialControl) -> None:
    """Of too many that wait, those of the peer that has most are given up, and nobody else's."""
    (mine,) = await shows(control, GOOD)
    guesses = await shows(control, *(token(f"guess-{number}") for number in range(500)), peer=GUESSER)
    await asyncio.sleep(0)
    given_up = [task for task in guesses if task.done()]
    assert len(given_up) == 500 + 1 - SMALL.invalid_credentials_max
    assert all(isinstance(task.exception(), CredentialUnverifiedError) for task in given_up)
    control.answer()
    assert isinstance(await mine, ShownCredential)
    while control.unanswered:
        control.answer()
    await asyncio.wait(guesses)


async def test_peers_are_asked_about_in_turn(control: CredentialControl) -> None:
    """With many guesses of one peer ahead of it, another peer's credential is among the next that control is asked."""
    guesses = await shows(control, *(token(f"guess-{number}") for number in range(90)), peer=GUESSER)
    (mine,) = await shows(control, GOOD)
    control.answer()
    assert GOOD in control.questions[1]
    while control.unanswered:
        control.answer()
    assert isinstance(await mine, ShownCredential)
    await asyncio.wait(guesses)


async def test_questions_gather_while_control_has_not_answered(control: CredentialControl) -> None:
    """The first goes out at once; those that come meanwhile go together, with its answer or a moment later."""
    tasks = await shows(control, *(token(f"guess-{number}") for number in range(5)))
    assert [len(question) for question in control.questions] == [1]
    control.answer()
    assert [len(question) for question in control.questions] == [1, 4]
    tasks += await shows(control, token("one-more"))
    control.pass_time(0.1)
    assert [len(question) for question in control.questions] == [1, 4, 1]
    control.answer()
    await asyncio.wait(tasks)


async def test_an_answer_that_never_comes_keeps_no_place(control: CredentialControl) -> None:
    """After some seconds others are asked about in its stead."""
    silent = await shows(control, *(token(f"silent-{number}") for number in range(11)), peer=GUESSER)
    control.pass_time(0.1)
    assert len(control.unanswered) == SMALL.credentials_asked_max
    control.unanswered.clear()
    control.pass_time(5)
    await asyncio.wait(silent)
    assert (await shown(control)).rights == meter_of("acme")


async def test_idle_credentials_are_unfollowed(control: CredentialControl) -> None:
    """Ten minutes after they were shown last, unless a stream uses them."""
    control.put(OTHER, meter_of("acme"))
    user = User()
    (await shown(control, OTHER)).users[user] = None
    await shown(control)
    control.pass_time(599)
    assert set(control.followed) == {GOOD, OTHER}
    assert is_let_in(control)
    control.pass_time(599)
    assert set(control.followed) == {GOOD, OTHER}
    control.pass_time(2)
    assert set(control.followed) == {OTHER}
    assert user.error is None


async def test_valid_credentials_are_bounded(control: CredentialControl) -> None:
    """Of too many, those that no stream uses are forgotten; they are asked about again when they are shown again."""
    control = CredentialControl(settings=NodeSettings(valid_credentials_max=10))
    for number in range(30):
        control.put(token(f"good-{number}"), meter_of("acme"))
    used = await shown(control, token("good-0"))
    used.users[User()] = None
    for number in range(1, 30):
        await shown(control, token(f"good-{number}"))
    control.pass_time(0.2)
    assert len(control.followed) == 10
    assert token("good-0") in control.followed
    assert (await shown(control, token("good-1"))).rights == meter_of("acme")


async def test_a_word_on_what_nobody_has_shown_is_ignored(control: CredentialControl) -> None:
    """Control may still speak of what was unfollowed a moment ago."""
    control.credentials.take(CredentialConfig(OTHER, CredentialState.VALID, "person:x", meter_of("acme"), version=9))
    (task,) = await shows(control, OTHER)
    assert not task.done()
    control.answer()
    with pytest.raises(CredentialRefusedError):
        await task
