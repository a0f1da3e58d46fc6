"""Sessions: few, none for ever, and none outlives what it was given for."""

import itertools

from tallygate._server.clock import ManualClock
from tallygate.console import sessions
from tallygate.console.caller import Caller
from tallygate.console.sessions import IDLE_S, NOTICES_MAX, OF_ONE_MAX, WHOLE_LIFE_S, Sessions


def sessions_at(clock: ManualClock) -> Sessions:
    numbers = itertools.count(1)
    return Sessions(clock, lambda: f"random-{next(numbers)}")


def test_nobody_ends_the_sessions_of_others() -> None:
    """Who signs in too often ends an own one, the one that was used the longest time ago."""
    kept = sessions_at(ManualClock())
    other = kept.begin("token", Caller(member="serviceAccount:other"))
    own = [kept.begin("token", Caller(member="serviceAccount:own")) for _ in range(OF_ONE_MAX)]
    kept.find(own[0].id)
    kept.begin("token", Caller(member="serviceAccount:own"))
    assert kept.find(other.id) is other
    assert [kept.find(one.id) is one for one in own[:3]] == [True, False, True]
    assert len(kept) == OF_ONE_MAX + 1


def test_an_idle_session_has_ended() -> None:
    """Exactly when it was idle for so long; use keeps it, and what reads itself again is no use."""
    clock = ManualClock()
    kept = sessions_at(clock)
    session = kept.begin("token", Caller())
    clock.advance(IDLE_S - 1)
    assert kept.find(session.id) is session
    clock.advance(IDLE_S - 1)
    assert kept.find(session.id, is_use=False) is session
    clock.advance(1)
    assert kept.find(session.id) is None
    assert len(kept) == 0


def test_a_session_that_is_used_has_a_whole_life() -> None:
    """However busy it is."""
    clock = ManualClock()
    kept = sessions_at(clock)
    session = kept.begin("token", Caller())
    for _ in range(WHOLE_LIFE_S // IDLE_S * 2 - 1):
        clock.advance(IDLE_S // 2)
        assert kept.find(session.id) is session
    clock.advance(IDLE_S // 2)
    assert kept.find(session.id) is None


def test_a_session_ends_with_its_credential() -> None:
    """A jump of the wall clock afterwards moves nothing."""
    clock = ManualClock()
    kept = sessions_at(clock)
    session = kept.begin("token", Caller(expire_us=clock.now_us() + 60_000_000))
    clock.jump(us=-3_600_000_000)
    clock.advance(59)
    assert kept.find(session.id) is session
    clock.advance(1)
    assert kept.find(session.id) is None


def test_one_too_many_ends_the_one_that_was_unused_longest() -> None:
    """Not the one that began first."""
    clock = ManualClock()
    kept = sessions_at(clock)
    first, second = kept.begin("a", Caller()), kept.begin("b", Caller())
    kept.find(first.id)
    for _ in range(sessions.SESSIONS_MAX - 1):
        kept.begin("c", Caller())
    assert len(kept) == sessions.SESSIONS_MAX
    assert kept.find(second.id) is None
    assert kept.find(first.id) is first


def test_what_was_done_is_said_once() -> None:
    """On the next page; a second press of a button is not said twice, and nobody fills the memory with it."""
    session = sessions_at(ManualClock()).begin("token", Caller())
    session.say("key", "Done.")
    session.say("key", "Done.")
    assert session.notices() == ["Done."]
    assert session.notices() == []
    for number in range(NOTICES_MAX * 2):
        session.say(str(number), "Done.")
    assert len(session.notices()) == NOTICES_MAX


def test_no_secret_is_in_what_a_log_would_say() -> None:
    """A session that is written out shows neither its credential nor what its cookie says."""
    session = sessions_at(ManualClock()).begin("tgt_secret", Caller())
    assert "tgt_secret" not in repr(session)
    assert session.id not in repr(session)
    assert session.csrf not in repr(session)


def test_a_renewed_session_takes_the_forms_of_open_pages() -> None:
    """The same person's, and nobody else's; the session before has ended."""
    sessions = sessions_at(ManualClock())
    before = sessions.begin("tgt_1", Caller(member="person:ada"))
    again = sessions.begin("tgt_2", Caller(member="person:ada"), before=before)
    assert (again.csrf, again.id == before.id) == (before.csrf, False)
    assert sessions.find(before.id) is None
    assert sessions.begin("tgt_3", Caller(member="person:bob"), before=again).csrf != before.csrf
    nobody = sessions.begin("", Caller())
    assert sessions.begin("", Caller(), before=nobody).csrf != nobody.csrf
