"""End users' API keys: which ones there are, what people do with them, and which one a request shows.

Only some worlds have them, and what is done with them has luck of its own: so the stories of other worlds stay as they
are. Of each key most requests show the newest secret, some an older one; some show none, another account's, one that
nobody has, or the hash of one, which opens nothing.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from control_service.domain.account import Account
from control_service.domain.api_key import EVERYTHING, KeyScope
from control_service.domain.errors import ControlError
from control_service.domain.limit import Place, PlaceKind
from control_service.domain.service import CredentialPolicy
from control_service.usecases.idempotent_call import Act
from control_service.usecases.keys.key_changes import (
    KeyRotation,
    KeyUpdate,
    delete_key,
    rotate_key,
    set_disabled,
    update_key,
)
from control_service.usecases.keys.key_mint import KeyMint
from control_service.usecases.keys.new_keys import NewKey, create_key
from control_service.usecases.people.lifecycle import change_service
from control_service.usecases.people.services import ServiceUpdate, update_service
from control_service.usecases.ports import Transaction
from tests.simulation.chance import Chance
from tests.simulation.credentials import SEAL
from tests.simulation.jobs import AUTHORIZE, FINISH, Job
from tests.simulation.key_checks import KeyChecks
from tests.simulation.people import ACCOUNTS, SERVICES, STEADY, TEAMS

if TYPE_CHECKING:
    from tallygate.metering.v1 import report_pb2
    from tests.simulation.simulation_harness import World

SEEDS = 6
LUCK = 3_000_017
"""Added to a seed: what is done with keys is drawn for itself."""
PACE_S = (0.5, 3.0)
ENDED_S = (0.3, 3.0, 8.0, 20.0)
"""Times for which a key stays as it was made worse, before it is as it was."""
OVERLAPS_S = (0, 2, 20, 3_600)
MILLION = 1_000_000
MODEL = "llama"
INSIDE, OUTSIDE = "192.0.2.7", "198.51.100.7"
NETWORKS = ("192.0.2.0/24",)
ALL, ROUTED, OF_TEAM = "all", "routed", "of-team"
"""Kinds of keys: for all services of the account; with a route to one of them; of one team."""


def in_seed(seed: int) -> bool:
    """Whether end users of a seed show keys, unless it is a storm. These accounts have limits as well."""
    return seed % SEEDS == SEEDS - 1


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows. `by_model`: it names no service, which the key's route for the model does."""

    text: str
    as_hash: bool
    by_model: bool
    address: str

    @property
    def sha256(self) -> bytes:
        """By what a node knows it."""
        return hashlib.sha256(self.text.encode()).digest()

    def put_on(self, report: "report_pb2.TokenReport", *, asks: bool, resumed: bool) -> None:
        """Show it with a report that begins something, be it on another stream, or of which nobody knows yet."""
        if not resumed and report.phase != AUTHORIZE and (asks or report.phase != FINISH):
            return
        if self.as_hash:
            report.credential_sha256 = self.sha256
        else:
            report.credential = self.text
        report.source_address = self.address
        if self.by_model and report.phase == AUTHORIZE and not resumed:
            report.model, report.service = MODEL, ""


@dataclass(eq=False, slots=True)
class EndUserKey:
    """A key as people have it: its secrets, the newest last. `service_id`: where its route leads; empty without one."""

    account_id: str
    key_id: str
    kind: str
    service_id: str = ""
    texts: list[str] = field(default_factory=list)


class Keys:
    """All keys, and what people do with them."""

    def __init__(self, world: "World", *, are_shown: bool) -> None:
        self.are_shown = are_shown
        self.checks = KeyChecks(world)
        self._world = world
        self._chance = Chance(world.seed + LUCK)
        self._mint = KeyMint(SEAL, self._random_bytes)
        self._keys: list[EndUserKey] = []
        self._made = 0
        self._deeds: tuple[tuple[str, Callable[[EndUserKey], Awaitable[None]]], ...] = (
            ("key disabled", self._disable),
            ("key disabled", self._disable),
            ("key rotated", self._rotate),
            ("key rotated", self._rotate),
            ("key made anew", self._replace),
            ("key's scope changed", self._narrow),
            ("key's networks changed", self._fence),
            ("key expires", self._expire),
            ("service needs a key", self._require),
        )

    async def found(self) -> None:
        """One of each kind in each account."""
        for account_id in ACCOUNTS if self.are_shown else ():
            for kind in (ALL, ROUTED, OF_TEAM):
                await self._make(account_id, kind)

    def places_of(self, account_id: str) -> list[Place]:
        """The keys of an account, of which each may have limits."""
        return [Place(PlaceKind.KEY, account_id, key.key_id) for key in self._keys if key.account_id == account_id]

    def give(self, job: Job) -> None:
        """Have a request show a key, mostly a right one."""
        if not self.are_shown or job.service.endswith(f"/{STEADY[1]}"):
            return
        chance = self._chance
        _, account_id, _, service_id = job.service.split("/")
        wrong = chance.integer(1, 24)
        if wrong <= 2:
            return
        # Work that nobody asked for is on record only where a service is named.
        routed = [
            key for key in self._keys if job.asks and key.service_id == service_id and key.account_id == account_id
        ]
        own = [key for key in self._keys if key.account_id == account_id]
        others = [key for key in self._keys if key.account_id != account_id]
        by_model = bool(routed) and wrong > 5 and chance.once_in(2)
        key = chance.pick(routed if by_model else others if wrong == 3 else own)
        text = chance.pick(key.texts) if chance.once_in(4) else key.texts[-1]
        if wrong == 4:
            text = self._mint.new_secret().text
        elif wrong == 5:
            text = hashlib.sha256(text.encode()).hexdigest()
        address = OUTSIDE if chance.once_in(4) else INSIDE
        job.shown = Shown(text, as_hash=chance.once_in(2), by_model=by_model, address=address)

    async def trouble(self) -> None:
        """What people do with keys all day, of each key one thing at a time."""
        world, chance = self._world, self._chance
        running: dict[EndUserKey, asyncio.Task[None]] = {}
        try:
            while self.are_shown:
                await asyncio.sleep(chance.uniform(*PACE_S))
                what, deed = chance.pick(self._deeds)
                key = chance.pick(self._keys)
                if not world.restoring and (key not in running or running[key].done()):
                    running[key] = asyncio.create_task(self._do(what, deed, key))
        finally:
            for task in running.values():
                task.cancel()

    async def _do(self, what: str, deed: Callable[[EndUserKey], Awaitable[None]], key: EndUserKey) -> None:
        world = self._world
        world.chance.note(what)
        world.note(f"{what}: {key.account_id}/{key.key_id}")
        try:
            await deed(key)
        except ControlError as error:
            # What was made after a copy is not there any more.
            world.note(f"{what}: {error.reason}")

    # --- deeds -------------------------------------------------------------------------------------------------------

    async def _make(self, account_id: str, kind: str) -> None:
        self._made += 1
        key = EndUserKey(account_id, f"k{self._made}", kind)
        if kind == ROUTED:
            key.service_id = self._service_of(account_id)
        routes = {MODEL: key.service_id} if key.service_id else {}
        team = self._chance.pick(TEAMS) if kind == OF_TEAM else ""
        new = NewKey(key.key_id, team=team, routes=routes)
        shown = await self._of(account_id, lambda tx, account, act: create_key(tx, account, new, self._mint, act))
        key.texts.append(shown.secret)
        self._keys.append(key)

    def _service_of(self, account_id: str) -> str:
        return self._chance.pick([service_id for its, service_id in SERVICES if its == account_id])

    async def _disable(self, key: EndUserKey) -> None:
        for disabled in (True, False):
            await self._of(
                key.account_id,
                lambda tx, account, act, disabled=disabled: set_disabled(  # type: ignore[misc]
                    tx, account, key.key_id, act, disabled=disabled
                ),
            )
            await asyncio.sleep(self._chance.pick(ENDED_S))

    async def _rotate(self, key: EndUserKey) -> None:
        """Two secrets are alive for a while, or the one before ends at once."""
        rotation = KeyRotation(key.key_id, self._chance.pick(OVERLAPS_S) * MILLION)
        shown = await self._of(
            key.account_id, lambda tx, account, act: rotate_key(tx, account, rotation, self._mint, act)
        )
        key.texts.append(shown.secret)

    async def _replace(self, key: EndUserKey) -> None:
        """One is deleted, and end users go on showing it for a while; then they have another one."""
        await self._of(key.account_id, lambda tx, account, act: delete_key(tx, account, key.key_id, act))
        await asyncio.sleep(self._chance.pick(ENDED_S))
        await self._make(key.account_id, key.kind)
        self._keys.remove(key)

    async def _narrow(self, key: EndUserKey) -> None:
        """It is for one service only, and then for all of them again."""
        service_id = key.service_id or self._service_of(key.account_id)
        for scope in (KeyScope(service_ids=(service_id,)), EVERYTHING):
            await self._update(key, KeyUpdate(scope=scope))
            await asyncio.sleep(self._chance.pick(ENDED_S))

    async def _fence(self, key: EndUserKey) -> None:
        for networks in (NETWORKS, ()):
            await self._update(key, KeyUpdate(networks=networks))
            await asyncio.sleep(self._chance.pick(ENDED_S))

    async def _expire(self, key: EndUserKey) -> None:
        """Its time is over soon; then it has no end any more."""
        world, seconds = self._world, self._chance.integer(1, 8)
        expire_us = world.loop.start_us + round(world.loop.now_s * MILLION) + seconds * MILLION
        await self._update(key, KeyUpdate(expire_us=expire_us))
        await asyncio.sleep(seconds + self._chance.pick((4.0, 12.0)))
        await self._update(key, KeyUpdate(clear_expiry=True))

    async def _require(self, key: EndUserKey) -> None:
        service_id = self._service_of(key.account_id)
        policy = self._chance.pick(list(CredentialPolicy))
        update = ServiceUpdate(None, None, None, credential_policy=policy)

        async def step(tx: Transaction, _account: Account, service: Any, act: Act) -> Any:
            return await update_service(tx, service, update, act)

        await self._of(key.account_id, lambda tx, account, act: change_service(tx, account, service_id, step, act))

    async def _update(self, key: EndUserKey, update: KeyUpdate) -> None:
        await self._of(key.account_id, lambda tx, account, act: update_key(tx, account, key.key_id, update, act))

    async def _of(self, account_id: str, change: Callable[[Transaction, Account, Act], Awaitable[Any]]) -> Any:
        return await self._world.people.of_account(account_id, change)

    def _random_bytes(self, length: int) -> bytes:
        return bytes(self._chance.integer(0, 255) for _ in range(length))
