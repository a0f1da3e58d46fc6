"""One credential that was shown to this node: what control said of it, who waits for that, and which streams use it."""

from asyncio import Future
from typing import Any, Protocol

from metering_service.domain.credential import Credential, CredentialConfig
from metering_service.domain.errors import CredentialUnverifiedError, MeteringError
from tallygate._access.rights import NO_RIGHTS, Rights


class CredentialUser(Protocol):
    """A stream that a credential has opened."""

    def rights_changed(self, rights: Rights) -> None:
        """What its caller may do is another now."""

    def break_off(self, error: MeteringError) -> None:
        """End at once: its caller may do nothing more."""


class ShownCredential:
    """A credential as this node knows it. `config` is None until control has answered."""

    __slots__ = (
        "asked_ns",
        "config",
        "credential",
        "expire_ns",
        "heard_ns",
        "is_confirmed",
        "is_forgotten",
        "kept",
        "last_used_ns",
        "peer",
        "users",
        "waiters",
    )

    def __init__(self, credential: Credential, peer: str, now_ns: int) -> None:
        """`peer`: who showed it first, and has it counted while it opens nothing."""
        self.credential = credential
        self.peer = peer
        self.config: CredentialConfig | None = None
        self.is_confirmed = False
        """Whether control has spoken of it on the stream that is open."""
        self.is_forgotten = False
        self.heard_ns = now_ns
        """When its state was last known to be true; while it is confirmed that is when control was heard last."""
        self.asked_ns: int | None = None
        """Since when control's answer is out; None where it was not asked, or has answered."""
        self.expire_ns: int | None = None
        self.last_used_ns = now_ns
        self.waiters: dict[Future[None], None] = {}
        """Those who wait for control's answer."""
        self.users: dict[CredentialUser, None] = {}
        self.kept: tuple[CredentialConfig | None, Any] = (None, None)
        """What a caller makes of a configuration, so that each call need not: the configuration, and that."""

    @property
    def member(self) -> str:
        """Whom it proves."""
        return self.config.member if self.config is not None else ""

    @property
    def rights(self) -> Rights:
        """What that one may do."""
        return self.config.rights if self.config is not None else NO_RIGHTS

    def answer(self) -> None:
        """Control has answered: whoever waits may look."""
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def give_up(self, error: type[CredentialUnverifiedError] = CredentialUnverifiedError) -> None:
        """No answer will come: whoever waits learns that it is not known who they are."""
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error())

    def break_users(self, error: MeteringError) -> None:
        """End every stream that it has opened."""
        users, self.users = self.users, {}
        for user in users:
            user.break_off(error)
