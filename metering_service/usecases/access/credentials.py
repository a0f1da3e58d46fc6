"""Credentials that were shown to this node, followed at the control service as services are.

Control is asked about a credential when it is shown first, and notifies of each change from then on. What many wait
for is asked once. Those that open nothing, or that control has not answered for, are bounded in number; of too many,
the peer gives way that has most. Control is asked about some at a time, of all peers in turn, so that one peer's
guesses delay nobody else's proof; and about none of a peer that has just shown too many wrong ones, so that they cost
control little. What opens something is never pushed out by what does not.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final, Protocol

from metering_service.domain.credential import Credential, CredentialConfig, CredentialState
from metering_service.domain.errors import CredentialRefusedError, CredentialUnverifiedError, TooManyGuessesError
from metering_service.usecases.access.peers import ByPeer, InTurn, WrongCredentials
from metering_service.usecases.access.shown_credential import ShownCredential
from metering_service.usecases.settings import NodeSettings
from tallygate._server.clock import Clock

VISITED_AT_ONCE: Final = 500
"""Maximum number of credentials looked at in one step: of housekeeping, and of questions to control."""
ROUND_NS: Final = 1_000_000_000
"""Minimum time of a round in which housekeeping looks at all credentials, a step at a time."""
GATHER_NS: Final = 50_000_000
"""Interval between two questions, unless the one before is answered."""
EXPIRING_SLACK: Final = 1_000
"""Number of ends that control has taken back, beyond which they are cleared away."""


class CredentialFeed(Protocol):
    """The part of the link to control that credentials use. Both return at once, and do nothing while it is down."""

    def follow_credentials(self, credentials: Sequence[Credential]) -> None:
        """Ask about these, and be notified of changes."""

    def unfollow_credentials(self, credentials: Sequence[Credential]) -> None:
        """Be notified no longer."""


class Credentials:
    """All credentials that this node knows something of."""

    def __init__(self, clock: Clock, settings: NodeSettings, feed: CredentialFeed) -> None:
        self._clock = clock
        self._settings = settings
        self._feed = feed
        self._shown: dict[Credential, ShownCredential] = {}
        self._invalid = ByPeer[ShownCredential]()
        """Those that open nothing, and those that control has not answered for."""
        self._wrong = WrongCredentials(settings.wrong_credentials_per_s)
        self._unasked = InTurn[ShownCredential]()
        self._asked: dict[Credential, ShownCredential] = {}
        """Those that control was asked about and has not answered for, the longest ago first."""
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        """Those who wait for an answer, and when they give up; all wait for the same time."""
        self._expiring: list[tuple[int, int, ShownCredential]] = []
        """A heap: when each one ends, if nothing else is said; the number in the middle keeps them in order."""
        self._expiring_number = 0
        self._round: deque[ShownCredential] = deque()
        """All of them, in the order in which they are looked at next."""
        self._round_left, self._round_began_ns = 0, clock.monotonic_ns() - ROUND_NS
        """How many of them this round has still to look at."""
        self._heard_ns = self._last_asked_ns = clock.monotonic_ns()
        self._is_linked = False

    # --- callers ---------------------------------------------------------------------------------------------------

    async def prove(self, credential: Credential, peer: str) -> ShownCredential:
        """What this node knows of a credential that opens something. `peer`: who shows it, without the port.

        Raises:
            CredentialRefusedError: it opens nothing.
            CredentialUnverifiedError: that could not be found out, or not lately enough.
            TooManyGuessesError: control is not asked, since too many of this peer opened nothing.
        """
        shown = self._shown.get(credential)
        if shown is None:
            if self._wrong.are_too_many(peer, self._clock.monotonic_ns()):
                raise TooManyGuessesError
            shown = self._add(credential, peer)
        if shown.config is None and not shown.is_forgotten:
            await self._answer_to(shown)
        now_ns = self._clock.monotonic_ns()
        config = shown.config
        if config is None or shown.is_forgotten or not self._is_fresh(shown, now_ns):
            raise CredentialUnverifiedError
        if config.state is CredentialState.VALID and shown.expire_ns is not None and shown.expire_ns <= now_ns:
            raise CredentialRefusedError(CredentialState.EXPIRED)
        if config.state is not CredentialState.VALID:
            raise CredentialRefusedError(config.state)
        shown.last_used_ns = now_ns
        return shown

    async def _answer_to(self, shown: ShownCredential) -> None:
        """Wait for control's answer. Raises CredentialUnverifiedError where none comes in time; see `keep_house`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        shown.waiters[waiter] = None
        self._waiting.append((self._clock.monotonic_ns() + self._settings.credential_wait_max_ns, waiter))
        try:
            await waiter
        finally:
            shown.waiters.pop(waiter, None)
            if shown.config is None and shown.asked_ns is None and not (shown.waiters or shown.is_forgotten):
                self._drop(shown)

    def _add(self, credential: Credential, peer: str) -> ShownCredential:
        shown = ShownCredential(credential, peer, self._clock.monotonic_ns())
        self._shown[credential] = shown
        self._unasked.add(peer, shown)
        self._round.append(shown)
        self._bound(shown)
        self._ask()
        return shown

    def _bound(self, shown: ShownCredential) -> None:
        """One more that opens nothing: where there are too many, the peer that has most has its oldest forgotten."""
        self._invalid.add(shown.peer, shown)
        while self._invalid.count > self._settings.invalid_credentials_max:
            self._forget(self._invalid.pop_of_longest())

    def _is_fresh(self, shown: ShownCredential, now_ns: int) -> bool:
        heard_ns = self._heard_ns if shown.is_confirmed else shown.heard_ns
        return now_ns - heard_ns <= self._settings.credential_unheard_max_ns

    # --- the control service ---------------------------------------------------------------------------------------

    def begin_stream(self) -> list[Credential]:
        """A new stream to control: what is to be followed on it from its beginning; others are asked about in turn.

        What was said of those holds on as of the last stream, until control says it again.
        """
        self._is_linked = True
        for shown in list(self._shown.values()):
            if shown.is_confirmed:
                shown.heard_ns, shown.is_confirmed = self._heard_ns, False
            if shown.asked_ns is not None:
                del self._asked[shown.credential]
                shown.asked_ns = None
                self._unasked.add(shown.peer, shown)
            elif shown.config is not None and shown.config.state is not CredentialState.VALID:
                self._drop(shown)
        self._ask()
        known = [shown for shown in self._shown.values() if shown.config is not None]
        # Those that streams use first: what has become of them matters most.
        known.sort(key=lambda shown: not shown.users)
        return [shown.credential for shown in known]

    def end_stream(self) -> None:
        """The stream to control has ended."""
        self._is_linked = False

    def hear(self) -> None:
        """Control has said something on the stream: what was said before on it is true still."""
        self._heard_ns = self._clock.monotonic_ns()

    def take(self, config: CredentialConfig) -> None:
        """Apply what control says of a credential: let in who waits, end the streams of what opens nothing more."""
        shown = self._shown.get(config.credential)
        if shown is None:
            return
        known = shown.config
        if known is not None and shown.is_confirmed and config.version < known.version:
            return
        now_ns = self._clock.monotonic_ns()
        shown.config, shown.is_confirmed, shown.heard_ns = config, True, now_ns
        self._note_end(shown, now_ns)
        if shown.asked_ns is not None:
            del self._asked[shown.credential]
            shown.asked_ns = None
            if config.state is not CredentialState.VALID:
                self._wrong.note(shown.peer, now_ns)
        if config.state is CredentialState.VALID:
            self._invalid.discard(shown.peer, shown)
            # After each break of the link control says all of it again, and to look through a stream takes time.
            if known is not None and config.rights != known.rights:
                for user in list(shown.users):
                    user.rights_changed(config.rights)
        else:
            shown.break_users(CredentialRefusedError(config.state))
            self._bound(shown)
        shown.answer()
        self._ask()

    def _ask(self) -> None:
        """Ask control about some more, as far as it has answered.

        While it has not, what comes gathers: many take it as long as one, and a question for each would be a queue.
        """
        now_ns = self._clock.monotonic_ns()
        if not self._is_linked or (self._asked and now_ns - self._last_asked_ns < GATHER_NS):
            return
        asked: list[Credential] = []
        for _ in range(VISITED_AT_ONCE):
            if not self._unasked or len(self._asked) >= self._settings.credentials_asked_max:
                break
            shown = self._unasked.pop()
            if self._wrong.are_too_many(shown.peer, now_ns):
                self._drop(shown, TooManyGuessesError)
                continue
            shown.asked_ns = now_ns
            self._asked[shown.credential] = shown
            asked.append(shown.credential)
        if asked:
            self._last_asked_ns = now_ns
            self._feed.follow_credentials(asked)

    def _note_end(self, shown: ShownCredential, now_ns: int) -> None:
        """When a credential ends, by what control has said now."""
        config = shown.config
        shown.expire_ns = None
        if config is None or config.valid_for_ns is None:
            return
        shown.expire_ns = now_ns + config.valid_for_ns
        self._expiring_number += 1
        heappush(self._expiring, (shown.expire_ns, self._expiring_number, shown))
        if len(self._expiring) > 2 * len(self._shown) + EXPIRING_SLACK:
            self._expiring = [each for each in self._expiring if each[2].expire_ns == each[0]]
            heapify(self._expiring)

    # --- the passing of time ---------------------------------------------------------------------------------------

    def keep_house(self) -> None:
        """End what has expired, answer who has waited long enough, forget what nobody has shown for long."""
        now_ns = self._clock.monotonic_ns()
        while self._expiring and self._expiring[0][0] <= now_ns:
            _, _, shown = heappop(self._expiring)
            self._expire(shown, now_ns)
        while self._waiting and self._waiting[0][0] <= now_ns:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(CredentialUnverifiedError())
        for shown in list(self._asked.values()):
            if shown.asked_ns is None or now_ns - shown.asked_ns < self._settings.credential_answer_max_ns:
                break
            self._forget(shown)
        if not self._round_left and now_ns - self._round_began_ns >= ROUND_NS:
            self._round_left, self._round_began_ns = len(self._round), now_ns
        visited = min(VISITED_AT_ONCE, self._round_left, len(self._round))
        self._round_left -= visited
        for _ in range(visited):
            self._visit(self._round.popleft(), now_ns)
        self._ask()

    def _expire(self, shown: ShownCredential, now_ns: int) -> None:
        """End the streams of a credential whose time is over; whoever shows it again has control asked."""
        config = shown.config
        if config is None or shown.expire_ns is None or shown.expire_ns > now_ns:
            return  # Control has said another end since.
        shown.expire_ns = None
        if config.state is CredentialState.VALID and not shown.is_forgotten:
            shown.break_users(CredentialRefusedError(CredentialState.EXPIRED))
            # Some of what it opened may be left, as for a person who was known by a group, too: control will tell.
            self._forget(shown)

    def _visit(self, shown: ShownCredential, now_ns: int) -> None:
        """Forget a credential that is idle: nobody has shown it for long, and no stream uses it."""
        if shown.is_forgotten:
            return
        is_too_many = len(self._shown) - self._invalid.count > self._settings.valid_credentials_max
        kept_ns = 0 if is_too_many else self._settings.idle_credential_kept_ns
        if shown.config is not None and not shown.users and now_ns - shown.last_used_ns >= kept_ns:
            self._forget(shown)
        else:
            self._round.append(shown)

    def _forget(self, shown: ShownCredential) -> None:
        """Follow it no longer; whoever waits for it is not let in."""
        is_followed = shown.config is not None or shown.asked_ns is not None
        self._drop(shown)
        if is_followed and self._is_linked:
            self._feed.unfollow_credentials([shown.credential])

    def _drop(self, shown: ShownCredential, error: type[CredentialUnverifiedError] = CredentialUnverifiedError) -> None:
        shown.is_forgotten = True
        shown.give_up(error)
        del self._shown[shown.credential]
        self._asked.pop(shown.credential, None)
        self._invalid.discard(shown.peer, shown)
        self._unasked.discard(shown.peer, shown)
