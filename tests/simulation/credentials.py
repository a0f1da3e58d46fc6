"""Credentials of inference servers: tokens of service accounts, each with the role METER on one account.

Only some worlds have them. What people do with them has luck of its own: so the stories of other worlds stay as they
are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from control_service.domain.access_token import AccessToken
from control_service.domain.account import Account
from control_service.domain.asker import Asker
from control_service.domain.binding import Binding, Grant
from control_service.domain.errors import ControlError
from control_service.domain.member import service_account_member
from control_service.domain.names import service_account_name
from control_service.domain.narrowing import NO_NARROWING
from control_service.domain.token_seal import TokenSeal
from control_service.usecases.access.bindings import create_binding, delete_binding
from control_service.usecases.access.principals import set_disabled
from control_service.usecases.access.service_accounts import NewServiceAccount, create_service_account
from control_service.usecases.access.token_mint import TokenMint
from control_service.usecases.access.tokens import (
    NewToken,
    Rotation,
    TokenKey,
    change_token,
    create_token,
    rotate_token,
)
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Transaction
from control_service.usecases.resolve_credential import Credentials as KnownByControl
from tallygate._access.rights import ALL_RIGHTS
from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tests.simulation import trespasses
from tests.simulation.admissions import Admissions
from tests.simulation.chance import Chance
from tests.simulation.people import ACCOUNTS

if TYPE_CHECKING:
    from tests.simulation.servers import InferenceServer
    from tests.simulation.simulation_harness import World

SEEDS = 5
SEAL = TokenSeal(b"simulated pepper" * 2)
KNOWN_BY_CONTROL = KnownByControl(seal=SEAL)
ASKER = Asker("", (), ALL_RIGHTS)
TOKENS = 2
"""Number of tokens of each service account."""
TEXTS_MAX = 6
"""Number of secrets that a server tries: of a restored database nobody knows which it knows."""
PACE_S, STORM_PACE_S = (1.0, 8.0), (0.5, 3.0)
REVOKED_S = (0.3, 2.0, 2.0, 5.0, 20.0)
OVERLAP_S = (3, 3_600)
MILLION = 1_000_000
LUCK = 1_000_003
"""Added to a seed: what people do with credentials is drawn for itself."""


def in_seed(seed: int) -> bool:
    """Whether servers of a seed have to prove who they are, unless it is a storm."""
    return seed % SEEDS == 1


@dataclass(eq=False)
class ServerToken:
    """A token as servers have it: its secrets, the newest last, and how many of them were refused since."""

    account_id: str = ""
    service_account: str = ""
    token_id: str = ""
    texts: list[str] = field(default_factory=list)
    refusals: int = 0

    @property
    def shown(self) -> str:
        """What a server shows; empty where nobody has to show anything."""
        return self.texts[-1 - self.refusals % len(self.texts)] if self.texts else ""

    @property
    def key(self) -> TokenKey:
        """Its name at control."""
        return TokenKey(self.service_account, self.token_id)

    def speaks_of(self, service: str) -> bool:
        """Whether its server may ever speak of a service."""
        return not self.account_id or service.startswith(f"accounts/{self.account_id}/")

    def take(self, token_id: str, text: str) -> None:
        """Another secret, or a token in place of this one."""
        self.token_id, self.refusals = token_id, 0
        self.texts = [*self.texts, text][-TEXTS_MAX:]

    def refused(self, text: str) -> None:
        """Another of its secrets may still be right, or be so already."""
        if text == self.shown:
            self.refusals += 1


NOTHING_SHOWN = ServerToken()
Deed: TypeAlias = Callable[[ServerToken], Awaitable[None]]


class Credentials:
    """All tokens of servers, and what people do with them."""

    def __init__(self, world: "World", *, are_shown: bool) -> None:
        self.are_shown = are_shown
        self.admissions = Admissions(world)
        self.trespass_count = 0
        self._world = world
        self._chance = Chance(world.seed + LUCK)
        self._mint = TokenMint(SEAL, self._random_bytes)
        self._tokens: list[ServerToken] = []
        self._bindings: dict[str, str] = {}
        """Ids, by account."""
        self._opens: dict[str, tuple[str, ...]] = {}
        """By secret: all that must not be revoked for it to open anything."""
        self._running: dict[str, asyncio.Future[None]] = {}
        self._deeds: tuple[tuple[str, Deed], ...] = (
            ("token disabled", self._disable),
            ("token rotated", self._rotate),
            ("token replaced", self._replace),
            ("binding taken", self._unbind),
            ("principal disabled", self._disable_principal),
        )

    async def found(self) -> None:
        """A service account in each account, with its tokens."""
        for account_id in ACCOUNTS if self.are_shown else ():
            new = NewServiceAccount(Scope(account_id), "servers", "")
            await self._of(account_id, partial(_create_service_account, new))
            await self._bind(account_id)
            for _ in range(TOKENS):
                token = ServerToken(account_id, service_account_name(new.scope, new.service_account_id))
                self._tokens.append(token)
                await self._make(token)

    def next_token(self) -> ServerToken:
        """The token of one more server: each account has about as many, each token, too."""
        servers = self._world.alive_servers
        return min(
            self._tokens,
            key=lambda token: (
                sum(server.token.account_id == token.account_id for server in servers),
                sum(server.token is token for server in servers),
            ),
            default=NOTHING_SHOWN,
        )

    def opens(self, text: str) -> tuple[str, ...]:
        """All that must not be revoked for this secret to open anything."""
        return self._opens.get(text, ())

    def server_for(self, service: str, drawn: "InferenceServer") -> "InferenceServer":
        """One that may speak of a service, and is not paused if there is any; the one that was drawn, if it may."""
        if drawn.token.speaks_of(service):
            return drawn
        servers = self._world.servers_of(service)
        return self._chance.pick([server for server in servers if not server.party.paused] or servers)

    async def trouble(self) -> None:
        """What people do with credentials all day, and servers with what is none of their own."""
        world, chance = self._world, self._chance
        while self.are_shown:
            await asyncio.sleep(chance.uniform(*(STORM_PACE_S if world.storm else PACE_S)))
            what, deed = chance.pick(self._deeds)
            token = chance.pick(self._tokens)
            if chance.once_in(2):
                self._begin("trespass", lambda: trespasses.trespass(world, chance))
            elif not world.restoring:
                self._begin(f"{what} {token.service_account}", partial(self._told, what, deed, token))

    def healing(self) -> "list[asyncio.Future[None]]":
        """What there is to heal."""
        return [asyncio.ensure_future(self._heal())] if self.are_shown else []

    async def _heal(self) -> None:
        """Everybody has a token that opens what it should, once what people have begun has ended."""
        for running in list(self._running.values()):
            await running
        for account_id in ACCOUNTS:
            await self._set_principal(account_id, disabled=False)
            await self._bind(account_id)
        for token in self._tokens:
            await self._make(token)

    def _begin(self, what: str, deed: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Of each kind one at a time."""
        if what not in self._running or self._running[what].done():
            self._running[what] = asyncio.ensure_future(deed())

    async def _told(self, what: str, deed: Deed, token: ServerToken) -> None:
        self._world.chance.note(what)
        self._world.note(what)
        try:
            await deed(token)
        except ControlError as error:
            # What was made after a copy is not there any more.
            self._world.note(f"{what}: {error.reason}")

    # --- deeds -------------------------------------------------------------------------------------------------------

    async def _disable(self, token: ServerToken) -> None:
        key, text = token.key, _token(token.token_id)
        for disabled in (True, False):

            async def change(tx: Transaction, act: Act, disabled: bool = disabled) -> AccessToken:
                return await change_token(tx, key, ASKER, lambda it: replace(it, disabled=disabled))

            await self._switch(token.account_id, text, change, revokes=disabled)
            await self._rest()

    async def _rotate(self, token: ServerToken) -> None:
        """Two secrets are alive; the one before those ends at once, and the older of the two after a while."""
        overlap_us = self._chance.pick(OVERLAP_S) * MILLION
        rotation, copies = Rotation(token.key, overlap_us), self._world.control.restored
        shown = await self._of(token.account_id, lambda tx, act: rotate_token(tx, rotation, self._mint, ASKER, act))
        older = [text for text in token.texts if _token(rotation.key.token_id) in self._opens[text]][:-1]
        if copies == self._world.control.restored:
            for text in older:
                self.admissions.revoke(_secret(text))
        self._take(token, shown)

    async def _replace(self, token: ServerToken) -> None:
        """A new token, and then the old one is deleted."""
        key = token.key
        await self._make(token)
        await self._rest()

        async def change(tx: Transaction, act: Act) -> AccessToken:
            return await change_token(tx, key, ASKER, lambda it: replace(it, delete_us=act.now_us))

        await self._switch(token.account_id, _token(key.token_id), change, revokes=True)

    async def _unbind(self, token: ServerToken) -> None:
        account_id, binding_id = token.account_id, self._bindings[token.account_id]

        async def take(tx: Transaction, act: Act) -> Binding:
            return await delete_binding(tx, Scope(account_id), binding_id, ASKER)

        await self._switch(account_id, _binding(account_id), take, revokes=True)
        await self._rest()
        await self._bind(account_id)

    async def _disable_principal(self, token: ServerToken) -> None:
        await self._set_principal(token.account_id, disabled=True)
        await self._rest()
        await self._set_principal(token.account_id, disabled=False)

    async def _set_principal(self, account_id: str, *, disabled: bool) -> None:
        member = _member(account_id)

        async def change(tx: Transaction, act: Act) -> Any:
            return await set_disabled(tx, member, ASKER, act, disabled=disabled)

        await self._switch(account_id, member, change, revokes=disabled)

    async def _bind(self, account_id: str) -> None:
        grant = Grant(Scope(account_id), _member(account_id), Role.METER)
        self.admissions.give_back(_binding(account_id))
        binding = await self._of(account_id, lambda tx, act: create_binding(tx, grant, ASKER, act))
        self._bindings[account_id] = binding.binding_id

    async def _make(self, token: ServerToken) -> None:
        new = NewToken(token.service_account, "", None, NO_NARROWING)
        self._take(
            token, await self._of(token.account_id, lambda tx, act: create_token(tx, new, self._mint, ASKER, act))
        )

    def _take(self, token: ServerToken, shown: Any) -> None:
        text, token_id, account_id = shown.minted.text, shown.minted.token_id, token.account_id
        self._opens[text] = (_secret(text), _token(token_id), _binding(account_id), _member(account_id))
        token.take(token_id, text)

    async def _switch(
        self, account_id: str, what: str, change: Callable[[Transaction, Act], Awaitable[Any]], *, revokes: bool
    ) -> None:
        """Take something away or give it back, unless a copy of the database comes between."""
        copies = self._world.control.restored
        if not revokes:
            self.admissions.give_back(what)
        await self._of(account_id, change)
        if revokes and copies == self._world.control.restored:
            self.admissions.revoke(what)

    async def _rest(self) -> None:
        await asyncio.sleep(self._chance.pick(REVOKED_S))

    async def _of(self, account_id: str, change: Callable[[Transaction, Act], Awaitable[Any]]) -> Any:
        async def of_account(tx: Transaction, _: Account, act: Act) -> Any:
            return await change(tx, act)

        return await self._world.people.of_account(account_id, of_account)

    def _random_bytes(self, length: int) -> bytes:
        return bytes(self._chance.integer(0, 255) for _ in range(length))


async def _create_service_account(new: NewServiceAccount, tx: Transaction, act: Act) -> Any:
    return await create_service_account(tx, new, ASKER, act)


def _member(account_id: str) -> str:
    return service_account_member(service_account_name(Scope(account_id), "servers"))


def _token(token_id: str) -> str:
    return f"token {token_id}"


def _secret(text: str) -> str:
    return f"secret {text[-8:]}"


def _binding(account_id: str) -> str:
    return f"binding of {account_id}"
