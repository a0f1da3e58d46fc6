"""Proofs looked up in the database, so that wrong ones cost little and a right one always passes.

An id that somebody made up is known by its tag and costs no look. After a wrong secret for an id that there is, looks
for that id pause; the proofs that come meanwhile are judged together by the next one. So each proof is judged by what
the database says after it came, and guessing makes no other token wait.

A right proof is remembered for half a second, and no longer than until this process commits anything: calls that follow
each other closely take one look, and what another process revokes opens nothing after that time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from control_service.domain.access_token import CredentialState, has_passed
from control_service.domain.credential import ResolvedCredential
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.last_uses import LastUses
from control_service.usecases.ports import Database
from control_service.usecases.resolve_credential import Certificate, Credentials
from tallygate._access.token_text import ShownToken
from tallygate._server.clock import Clock

Key = TypeVar("Key")
Value = TypeVar("Value")

PAUSE_NS: Final = 100_000_000
"""Interval between two looks for one token after a wrong secret for it."""
GUESSED_MAX: Final = 10_000
"""Maximum number of tokens that are remembered for wrong secrets; beyond it the oldest are forgotten."""
REMEMBERED_NS: Final = 500_000_000
"""Time for which a right proof is remembered: what another process revokes may open something for so long."""
REMEMBERED_MAX: Final = 10_000
"""Maximum number of right proofs that are remembered; beyond it the oldest are forgotten."""

Shown: TypeAlias = ShownToken | Certificate


@dataclass(frozen=True, slots=True)
class _Remembered:
    """What a right proof opened when it was looked up, and how many commits this process had made by then."""

    resolved: ResolvedCredential
    looked_ns: int
    commit_count: int


class ProofLookup:
    """Resolves proofs for the gate of this process."""

    def __init__(
        self, database: Database, clock: Clock, credentials: Credentials, uses: LastUses, signal: ChangeSignal
    ) -> None:
        self._database = database
        self._clock = clock
        self._credentials = credentials
        self._uses = uses
        self._signal = signal
        # Right proofs, the oldest first.
        self._remembered: dict[Shown, _Remembered] = {}
        # When each token had its last wrong secret, the oldest first.
        self._guessed_ns: dict[str, int] = {}
        self._waiting: dict[str, list[tuple[ShownToken, asyncio.Future[ResolvedCredential]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def resolve(self, proof: Shown) -> ResolvedCredential:
        """What a proof opens now. Raises StorageUnavailableError."""
        known = self._credentials.without_database(proof) or self._recall(proof)
        if known is not None:
            return known
        looked_ns, commit_count = self._clock.monotonic_ns(), self._signal.commit_count
        if isinstance(proof, Certificate):
            async with self._database.reading() as tx:
                resolved = await self._credentials.resolve(tx, proof, self._clock.now_us())
        else:
            resolved = await (self._paused(proof) if self._must_pause(proof.token_id) else self._one(proof))
        if resolved.state is CredentialState.VALID:
            self._uses.note(resolved)
            self._remembered.pop(proof, None)
            self._remembered[proof] = _Remembered(resolved, looked_ns, commit_count)
            _forget_oldest(self._remembered, REMEMBERED_MAX)
        return resolved

    def _recall(self, proof: Shown) -> ResolvedCredential | None:
        """What the proof opened a moment ago; None where that is not known, or may have changed since."""
        known = self._remembered.get(proof)
        if known is None:
            return None
        is_fresh = self._clock.monotonic_ns() - known.looked_ns < REMEMBERED_NS
        if is_fresh and known.commit_count == self._signal.commit_count:
            return None if has_passed(known.resolved.expire_us, self._clock.now_us()) else known.resolved
        return None

    def _must_pause(self, token_id: str) -> bool:
        if token_id in self._waiting:
            return True
        guessed_ns = self._guessed_ns.get(token_id)
        return guessed_ns is not None and self._clock.monotonic_ns() - guessed_ns < PAUSE_NS

    async def _one(self, proof: ShownToken) -> ResolvedCredential:
        (resolved,) = await self._look(proof.token_id, [proof])
        return resolved

    async def _paused(self, proof: ShownToken) -> ResolvedCredential:
        """Waits with all others who ask for this token, for a look that has not begun."""
        waiting = self._waiting.get(proof.token_id)
        if waiting is None:
            waiting = self._waiting[proof.token_id] = []
            task = asyncio.create_task(self._look_later(proof.token_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        future: asyncio.Future[ResolvedCredential] = asyncio.get_running_loop().create_future()
        waiting.append((proof, future))
        return await future

    async def _look_later(self, token_id: str) -> None:
        await asyncio.sleep(PAUSE_NS / 1e9)
        waiting = self._waiting.pop(token_id)
        try:
            found: Sequence[ResolvedCredential] = await self._look(token_id, [proof for proof, _ in waiting])
        except Exception as error:  # noqa: BLE001  # told to each who waits
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), resolved in zip(waiting, found, strict=True):
            if not future.done():
                future.set_result(resolved)

    async def _look(self, token_id: str, proofs: Sequence[ShownToken]) -> list[ResolvedCredential]:
        """One look for a token, however many proofs there are; those that are right are looked into further."""
        async with self._database.reading() as tx:
            now_us = self._clock.now_us()
            token = await tx.access_tokens.find(token_id)
            found = [await self._credentials.judge(tx, token, proof, now_us) for proof in proofs]
        if any(one.state is CredentialState.UNKNOWN for one in found):
            self._remember(token_id)
        return found

    def _remember(self, token_id: str) -> None:
        self._guessed_ns.pop(token_id, None)
        self._guessed_ns[token_id] = self._clock.monotonic_ns()
        _forget_oldest(self._guessed_ns, GUESSED_MAX)


def _forget_oldest(known: dict[Key, Value], count_max: int) -> None:
    if len(known) > count_max:
        del known[next(iter(known))]
