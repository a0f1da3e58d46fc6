"""Whom nodes let in: what control has told each of credentials, what was revoked, and what must be true of streams.

A revocation counts against a node from a second after its commit, and after the node has come to be in touch with
control: not paused, nor its replica, a database that answers, and nothing on its way for long.
"""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tallygate._access.token_text import ShownToken, read_token
from tallygate.control.v1 import fleet_service_pb2
from tests.simulation.loop import SimulatedLoop
from tests.simulation.network import StreamCall

if TYPE_CHECKING:
    from tests.simulation.processes import ControlProcess, MeteringProcess
    from tests.simulation.simulation_harness import World

VALID = fleet_service_pb2.CREDENTIAL_STATE_VALID
REVOKED_MAX_S = 1.0
"""Time after which what was revoked opens nothing more."""
UNHEARD_MAX_S = 60.0 / 0.98 + 0.5
"""Time for which a node that is cut off lets in whom it knows, by the slowest clock."""
LOOK_S = 0.1
"""Shorter than anything lasts that excuses a node."""
ON_ITS_WAY_MAX_S = 0.2
"""Messages that take longer are delayed by a fault."""


class _Told(NamedTuple):
    """What control said of a credential last, and on which stream."""

    state: int
    version: int
    call: StreamCall


@dataclass(eq=False)
class ToldByControl:
    """What one process of a node has heard on its own streams from control."""

    loop: SimulatedLoop
    call: StreamCall | None = None
    replica: "ControlProcess | None" = None
    in_touch_since_s: float | None = None
    """None while it is not."""
    _credentials: dict[ShownToken, _Told] = field(default_factory=dict)
    _heard_s: dict[StreamCall, float] = field(default_factory=dict)

    def begin(self, call: StreamCall, replica: "ControlProcess") -> None:
        """A new stream."""
        self.call, self.replica, self.in_touch_since_s = call, replica, None
        call.on_message = lambda message: self._hear(call, message)

    def is_in_touch(self, *, database_answers: bool) -> bool:
        """Whether there is nothing that keeps it from hearing of what changes."""
        call, replica = self.call, self.replica
        return (
            call is not None
            and replica is not None
            and database_answers
            and call.broken is None
            and call in self._heard_s
            and not replica.party.paused
            and call.on_its_way_until_s <= self.loop.now_s + ON_ITS_WAY_MAX_S
        )

    def why_not(self, shown: ShownToken) -> str:
        """Why a caller with this credential must not be let in; empty if it may be."""
        told = self._credentials.get(shown)
        if told is None:
            return "of whom control has told it nothing"
        if told.state != VALID:
            return "of whom control has told it that it opens nothing"
        unheard_s = self.loop.now_s - self._heard_s[told.call]
        return f"{unheard_s:.0f} s after it last heard from control" if unheard_s > UNHEARD_MAX_S else ""

    def _hear(self, call: StreamCall, message: Any) -> None:
        self._heard_s[call] = self.loop.now_s
        for config in message.credentials:
            proof = config.credential.token
            shown = ShownToken(proof.token_id, proof.token_sha256)
            before = self._credentials.get(shown)
            if before is None or before.call is not call or before.version <= config.version:
                self._credentials[shown] = _Told(config.state, config.version, call)


class Admissions:
    """The streams of servers, and what was revoked that they were opened by."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._revoked_s: dict[str, float] = {}
        """By what was revoked, until it is given back: when that was certain to be committed."""
        self._copies = 0

    def revoke(self, what: str) -> None:
        """This is committed, and opens nothing."""
        self._revoked_s.setdefault(what, self._world.loop.now_s)

    def give_back(self, what: str) -> None:
        """From now on this may open something again."""
        self._revoked_s.pop(what, None)

    def admit(self, process: "MeteringProcess", call: StreamCall) -> None:
        """A node has let a stream in."""
        call.is_admitted = True
        shown = read_token(call.bearer)
        why_not = process.told.why_not(shown) if shown is not None else "who shows nothing"
        if why_not:
            self._world.wrongs.append(f"{process.party} lets {call.caller} in, {why_not}")

    async def watch(self) -> None:
        """Looks at all nodes, again and again, where somebody has to show something."""
        world = self._world
        while world.credentials.are_shown or world.keys.are_shown:
            await asyncio.sleep(LOOK_S)
            for process in world.nodes.values():
                if process is not None:
                    self._note_touch(process)
            if world.credentials.are_shown:
                self.look()
            world.keys.checks.look_at_nodes()

    def _note_touch(self, process: "MeteringProcess") -> None:
        told, world = process.told, self._world
        is_there = process.alive and not process.party.paused
        if not is_there or not told.is_in_touch(database_answers=not world.control_disk.away):
            told.in_touch_since_s = None
        elif told.in_touch_since_s is None:
            told.in_touch_since_s = world.loop.now_s

    def look(self) -> None:
        """No node that is in touch has a stream of what was revoked, and none takes a report on it: it has ended."""
        world = self._world
        if self._copies != world.control.restored:
            # Nobody knows what was revoked since the copy.
            self._copies = world.control.restored
            self._revoked_s.clear()
        now_s = world.loop.now_s
        for process in world.nodes.values():
            if process is None or (touch_s := process.told.in_touch_since_s) is None:
                continue
            for call in process.server.streams:
                revoked = [
                    (what, at_s) for what in world.credentials.opens(call.bearer) if (at_s := self._revoked_s.get(what))
                ]
                for what, at_s in revoked if call.is_admitted else ():
                    late_s = now_s - max(at_s, touch_s)
                    world.check(
                        late_s <= REVOKED_MAX_S,
                        f"{process.party} has a stream of {call.caller} {late_s:.1f} s after {what} was revoked",
                    )
