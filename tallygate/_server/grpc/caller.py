"""Who a call comes from: what it proved itself by, and what it may do."""

from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import grpc

from tallygate._access.rights import ALL_RIGHTS, Rights, TeamAdmission
from tallygate._server.grpc.tls import peer_certificate_uris

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

AUTHORIZATION_KEY: Final = "authorization"
NOTE_KEY: Final = "tallygate-actor"
"""Name of the metadata in which callers may say something of themselves, which nobody checks."""
_BEARER: Final = "bearer "
_NETWORKS: Final = frozenset({"ipv4", "ipv6"})
IPV6_PREFIX: Final = 64
"""Number of bits of an IPv6 address that belong to one peer: the rest it may choose."""
PERMITTED_MAX: Final = 256
"""Maximum number of permitted calls that are remembered of one caller; beyond it all of them are judged anew."""
PEERS_MAX: Final = 4_096
"""Maximum number of connections whose peers are remembered, so that a call need not read its own anew."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of one RPC.

    `member` is a principal as in Binding; empty where the server asks for no proof, or where nobody was proved.
    `own_only`: the caller lacks the permission that this call needs, and may do it only to what is its own.
    `admission`: what this call was let in by, where that was the team of the service that it names.
    Who is kept for several calls is the same caller for as long as it has the same rights.
    """

    member: str = ""
    rights: Rights = ALL_RIGHTS
    access_token: str = ""
    display_name: str = ""
    groups: tuple[str, ...] = ()
    expire_us: int | None = None
    own_only: bool = False
    admission: TeamAdmission | None = None
    permitted: set[tuple[str, tuple[str, ...]]] = field(default_factory=set, compare=False, repr=False)
    """Methods with the names on which they may be called: found out before by these rights, which never change."""

    def note_permitted(self, method: str, names: tuple[str, ...]) -> None:
        """It may call this method on these names."""
        if len(self.permitted) >= PERMITTED_MAX:
            self.permitted.clear()
        self.permitted.add((method, names))


UNCHECKED: Final = Caller()
"""Caller of every RPC at a server that asks for no proof."""

_CALLER: Final[ContextVar[Caller]] = ContextVar("caller", default=UNCHECKED)


Readmit: TypeAlias = Callable[[], Awaitable[Caller]]
_READMIT: Final[ContextVar[Readmit | None]] = ContextVar("readmit", default=None)


def current_caller() -> Caller:
    """The caller of the RPC that this task serves."""
    return _CALLER.get()


def set_caller(caller: Caller) -> None:
    """Remember the caller for the task that serves its RPC; the gate does."""
    _CALLER.set(caller)


def set_readmission(admit: Readmit) -> None:
    """Remember how the caller of a stream is looked at again, for the tasks that serve it; the guard does."""
    _READMIT.set(admit)


async def admit_again() -> Caller:
    """The caller of this stream as of now, which may have been revoked since the stream began.

    Raises what the gate raises. At a server that asks for no proof this is the caller as ever.
    """
    admit = _READMIT.get()
    return current_caller() if admit is None else await admit()


@lru_cache(maxsize=PEERS_MAX)
def peer_address(peer: str) -> str:
    """The peer's address without its port: `::1` of `ipv6:[::1]:51234`, as gRPC has it."""
    kind, _, place = unquote(peer).partition(":")
    return place.rpartition(":")[0].strip("[]") if kind in _NETWORKS else kind


@lru_cache(maxsize=PEERS_MAX)
def peer_network(peer: str) -> str:
    """The peer's address without what one peer may choose of it: the end of an IPv6 address, and its zone.

    What is no internet address stands for itself.
    """
    address = peer_address(peer)
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)


class Presented:
    """What a call brought along. A second `authorization` counts as a malformed one.

    Each part is read when it is needed: a certificate costs more than all else, and a token makes it needless.
    """

    __slots__ = ("_context", "bearer")

    def __init__(self, context: Context) -> None:
        self._context = context
        self.bearer = _bearer(context.invocation_metadata() or ())
        """The text after `Bearer`; None without any."""

    @property
    def certificate_uris(self) -> tuple[str, ...]:
        """URIs of a certificate that TLS has verified."""
        return peer_certificate_uris(self._context)

    @property
    def peer(self) -> str:
        """The peer, as gRPC writes it."""
        return self._context.peer()


def note_of(context: Context) -> str | None:
    """What the caller said of itself; None where it said nothing."""
    return next((str(value) for key, value in context.invocation_metadata() or () if key == NOTE_KEY), None)


def _bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    values = [str(value) for key, value in metadata if key == AUTHORIZATION_KEY]
    if not values:
        return None
    if len(values) > 1 or not values[0].lower().startswith(_BEARER):
        return ""
    return values[0][len(_BEARER) :].strip()
