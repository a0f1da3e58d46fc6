"""Sessions of people who are signed in: on the server, in memory, few enough, and none for ever."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from tallygate._server.clock import NS_PER_US, Clock
from tallygate.console.caller import Caller
from tallygate.console.copies import Copies

SESSIONS_MAX: Final = 1_000
"""Maximum number of sessions; one more ends the one that was used the longest time ago."""
OF_ONE_MAX: Final = 50
"""Maximum number of sessions of one member, who would end those of all others by signing in often enough."""
IDLE_S: Final = 30 * 60
"""Number of seconds after which a session that nobody used has ended."""
WHOLE_LIFE_S: Final = 12 * 60 * 60
"""Number of seconds after which any session has ended."""
NOTICES_MAX: Final = 8
"""Maximum number of notices that wait for the next page."""
READ_MAX: Final = 8
"""Maximum number of answers that a session keeps for some seconds."""
NS_PER_S: Final = 1_000_000_000

Answer = TypeVar("Answer")
RandomText = Callable[[], str]
"""Gives a text that nobody can guess."""


@dataclass(slots=True, eq=False)
class Session:
    """One browser of somebody who is signed in.

    Attributes:
        id: What the cookie says.
        csrf: What each form of the session says.
        credential: The access token; empty at a pair that asks for no proof.
        caller: Who it is, as the control service said it last.
        issuer: Where they signed in; empty for a token that they typed.
    """

    id: str = field(repr=False)
    csrf: str = field(repr=False)
    credential: str = field(repr=False)
    caller: Caller
    issuer: str
    begun_ns: int
    ends_ns: int
    used_ns: int
    caller_read_ns: int
    account: str = ""
    copies: Copies = field(default_factory=Copies)
    _notices: dict[str, str] = field(default_factory=dict)
    _read: OrderedDict[str, tuple[int, Any]] = field(default_factory=OrderedDict)

    def ends_within(self, now_ns: int, within_s: int) -> bool:
        """Whether it ends so soon, however it is used, and more than half of its life is over."""
        return now_ns + within_s * NS_PER_S >= self.ends_ns and now_ns - self.begun_ns > self.ends_ns - now_ns

    @property
    def has_notices(self) -> bool:
        """Whether something was done that no page has said yet."""
        return bool(self._notices)

    def say(self, key: str, notice: str) -> None:
        """Has the next page say what was done; what was done once, under one key, is said once."""
        if len(self._notices) < NOTICES_MAX:
            self._notices[key] = notice

    async def lately(self, key: str, now_ns: int, for_s: int, read: Callable[[], Awaitable[Answer]]) -> Answer:
        """What was read under this key less than so many seconds ago; else it is read now."""
        at_ns, answer = self._read.get(key, (0, None))
        if answer is not None and now_ns < at_ns + for_s * NS_PER_S:
            found: Answer = answer
            return found
        found = await read()
        self._read[key] = (now_ns, found)
        self._read.move_to_end(key)
        while len(self._read) > READ_MAX:
            self._read.popitem(last=False)
        return found

    def notices(self) -> list[str]:
        """What the next page says, which says it only once."""
        said = list(self._notices.values())
        self._notices.clear()
        return said


class Sessions:
    """All sessions of this console, by what their cookies say."""

    def __init__(self, clock: Clock, random_text: RandomText) -> None:
        self._clock = clock
        self._random_text = random_text
        self._by_id: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def begin(self, credential: str, caller: Caller, issuer: str = "", before: Session | None = None) -> Session:
        """A session under an id that no browser has had; it ends with its credential at the latest.

        `before`: the browser's session until now, which ends. Where it was the same person's, forms of its pages that
        are still open can be sent.
        """
        is_same = before is not None and bool(caller.member) and before.caller.member == caller.member
        now_ns = self._clock.monotonic_ns()
        life_ns = WHOLE_LIFE_S * NS_PER_S
        if caller.expire_us is not None:
            life_ns = min(life_ns, (caller.expire_us - self._clock.now_us()) * NS_PER_US)
        session = Session(
            id=self._random_text(),
            csrf=before.csrf if before is not None and is_same else self._random_text(),
            credential=credential,
            caller=caller,
            issuer=issuer,
            begun_ns=now_ns,
            ends_ns=now_ns + life_ns,
            used_ns=now_ns,
            caller_read_ns=now_ns,
            account=before.account if before is not None and is_same else "",
        )
        if before is not None:
            self.end(before)
        self._by_id[session.id] = session
        self._make_room(caller.member)
        return session

    def find(self, session_id: str, *, is_use: bool = True) -> Session | None:
        """The session of this id, unless it has ended. A live part that reads itself again is no use of it."""
        session = self._by_id.get(session_id)
        if session is None:
            return None
        now_ns = self._clock.monotonic_ns()
        if now_ns >= session.ends_ns or now_ns >= session.used_ns + IDLE_S * NS_PER_S:
            self.end(session)
            return None
        if is_use:
            session.used_ns = now_ns
            self._by_id.move_to_end(session_id)
        return session

    def _make_room(self, member: str) -> None:
        theirs = [one for one in self._by_id.values() if member and one.caller.member == member]
        for one in theirs[: max(0, len(theirs) - OF_ONE_MAX)]:
            self.end(one)
        while len(self._by_id) > SESSIONS_MAX:
            self._by_id.popitem(last=False)

    def end(self, session: Session) -> None:
        """Forget a session, and its credential with it."""
        self._by_id.pop(session.id, None)
